"""Which servers and shares a UNC path may mean: only those of the list, however it is written (case 27)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.contract import InstructionsError
from postscan.filters.shares import ShareMap
from postscan.filters.smb.servers import Encryption, Logon, SmbServer, SmbServers, SmbTarget

PASSWORD = Secret("s3cret-w0rd")


def server(host: str = "files.example.com", *shares: str) -> SmbServer:
    return SmbServer(host, Logon.NTLM, "scan", lambda: PASSWORD, shares=shares)


SERVERS = SmbServers([server(), server("archive.example.com", "scans", "hidden$")])


def target(text: str) -> SmbTarget:
    found = ShareMap((), {}, SERVERS).target_of(text)
    assert isinstance(found, SmbTarget)
    return found


def test_a_path_is_server_share_and_folders() -> None:
    found = target(r"\\files.example.com\scans\inbox\Ä b")
    assert (found.server.host, found.share, found.folders) == (
        "files.example.com",
        "scans",
        ("inbox", "Ä b"),
    )


@pytest.mark.parametrize(
    "spelling",
    [
        r"\\FILES.example.COM\Scans\Inbox",
        "\\\\files.example.com\\scans\\Inbox\\",
        "  \\\\files.example.com\\scans\\Inbox",
    ],
    ids=["capitals", "backslash at the end", "spaces"],
)
def test_all_spellings_have_one_key(spelling: str) -> None:
    assert target(spelling).key == r"\\files.example.com\scans\Inbox"


def test_a_key_leads_to_itself() -> None:
    key = target(r"\\Files.Example.Com\Scans\a\B").key
    assert target(key).key == key


@pytest.mark.parametrize(
    "text",
    [
        r"\\attacker.example\scans",
        r"\\files\scans",
        r"\\files.example.com.attacker.example\scans",
        r"\\files.example.com@445\scans",
        r"\\files.example.com@SSL\scans",
        r"\\files.example.com:445\scans",
        r"\\10.0.0.1\scans",
        r"\\2130706433\scans",
        r"\\0x7f.1\scans",
        r"\\127.1\scans",
        r"\\fe80--1.ipv6-literal.net\scans",
        r"\\[::1]\scans",
        r"\\?\UNC\files.example.com\scans",
        r"\\.\UNC\files.example.com\scans",
        r"\\?\C:\scans",
        r"\\files.example.com",
        "\\\\files.example.com\\",
        r"\\files.example.com\\scans",
        r"\\files.example.com\scans\..\other",
        r"\\files.example.com\scans\.\other",
        r"\\files.example.com\..\files",
        r"\\files.example.com\scans/../x",
        "//files.example.com/scans",
        r"\\files.example.com\scans\a:stream",
        "\\\\files.example.com\\scans\\a\x00b",
        "\\\\files.example.com\\scans\\a\nb",
        r"\\files.example.com\C$",
        r"\\files.example.com\IPC$",
        r"\\files.example.com\ADMIN$\x",
        r"\\archive.example.com\other",
        "\\\\files.ex\u00e4mple.com\\scans",
        "\\\\files.example.com\u3002attacker\\scans",
        "\\\\files\uff0eexample\uff0ecom\\scans",
        "smb://files.example.com/scans",
        "files.example.com\\scans",
        "\\\\\\files.example.com\\scans",
        "",
        "\\\\",
    ],
)
def test_case_27_what_is_not_on_the_list_is_refused(text: str) -> None:
    with pytest.raises(InstructionsError) as raised:
        target(text)
    assert raised.value.detail == "fsf:ShareUNC"


def test_a_hidden_share_has_to_be_listed() -> None:
    assert target(r"\\archive.example.com\HIDDEN$").share == "HIDDEN$"


def test_the_advice_says_how_to_allow_a_server() -> None:
    with pytest.raises(InstructionsError) as raised:
        target(r"\\New.example.com\scans")
    assert '[fileshare.servers."new.example.com"]' in raised.value.what_to_do


@given(st.text(st.sampled_from("\\/.:@?$ \x00%[]fFilesexampcoCÄ0127-_ſK"), max_size=60))
@example("\\\\files.example.com\\scans")
def test_case_27_no_text_leads_to_a_server_that_is_not_listed(text: str) -> None:
    _leads_only_to_the_list(text)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_case_27_no_host_share_or_folder_leads_elsewhere(host: str, share: str, folder: str) -> None:
    _leads_only_to_the_list(f"\\\\{host}\\{share}\\{folder}")
    _leads_only_to_the_list(f"\\\\files.example.com\\{share}\\{folder}")


def _leads_only_to_the_list(text: str) -> None:
    try:
        found = target(text)
    except InstructionsError:
        return
    assert found.server in list(SERVERS)
    host, share, *folders = text.strip().removeprefix("\\\\").removesuffix("\\").split("\\")
    assert host.casefold() == found.server.host
    assert share == found.share
    assert found.server.allows(share)
    assert tuple(folders) == found.folders
    assert not {".", "..", ""} & set(folders)
    assert not set('/:*?"<>|\x00') & set("".join((share, *folders)))
    assert target(found.key).key == found.key


def test_a_server_is_listed_once() -> None:
    with pytest.raises(ConfigurationError, match="listed twice"):
        SmbServers([server(), server("FILES.example.com")])


@pytest.mark.parametrize("host", ["10.0.0.1", "::1", "2130706433"])
def test_a_server_is_named_by_its_name(host: str) -> None:
    with pytest.raises(ConfigurationError, match="named by an address"):
        server(host)


@pytest.mark.parametrize(
    ("account", "password"), [("", lambda: PASSWORD), ("scan", None)], ids=["no account", "no password"]
)
def test_ntlm_without_account_or_password_is_refused(account: str, password: object) -> None:
    with pytest.raises(ConfigurationError, match="needs an account and its password"):
        SmbServer("files.example.com", Logon.NTLM, account, password)  # type: ignore[arg-type] # None or a call


def test_what_is_safest_needs_no_word() -> None:
    plain = SmbServer("files.example.com", account="scan@EXAMPLE.COM", password=lambda: PASSWORD)
    assert (plain.logon, plain.encryption, plain.port) == (Logon.KERBEROS, Encryption.OFFERED, 445)


def test_kerberos_proves_the_host_or_what_is_connected_to_but_never_an_address() -> None:
    hosts = {"": "files.example.com", "dc1.example.com": "dc1.example.com", "10.0.0.1": "files.example.com"}
    for connect_to, proven in hosts.items():
        made = SmbServer("files.example.com", Logon.NTLM, "scan", lambda: PASSWORD, connect_to=connect_to)
        assert made.service_host == proven


def test_no_password_is_shown() -> None:
    assert PASSWORD.reveal() not in repr(target(r"\\files.example.com\scans"))

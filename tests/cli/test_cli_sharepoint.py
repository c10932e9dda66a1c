"""The SharePoint sites of the settings: what is refused, the secrets they need, and the filter they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from postscan.cli import filters_sharepoint
from postscan.cli.filters_sharepoint import check_sharepoint, sharepoint_filter, sharepoint_secret_uses
from postscan.cli.pki import create_ca, write_pair
from postscan.cli.secret_file import SecretRefused
from postscan.cli.settings import LoadedSettings, load_settings
from postscan.cli.settings_sharepoint import secret_prefix
from postscan.contracts.keywords import FilterStateReason
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError, DeliveryOrder, Destination
from postscan.filters.sharepoint.address import parse_library_address, parse_origin
from postscan.filters.sharepoint.auth import BasicAuth, KerberosAuth, NtlmAuth
from postscan.filters.sharepoint.bearer import BearerAuth
from postscan.filters.sharepoint.graph import GraphLibrary
from postscan.filters.sharepoint.rest import RestLibrary
from postscan.filters.sharepoint.webdav import WebdavLibrary
from support.delivery import JOB, NO_INSTRUCTIONS, MemoryLedger
from support.libraries import LibrarySite

Load = Callable[..., LoadedSettings]
SITE = '[sharepoint.sites."https://sp.example.com"]\n'
PLAIN = '[sharepoint.sites."http://sp.example.com"]\ninsecure = true\n'
BASIC = SITE + 'auth = "basic"\naccount = "svc-sp"\n'
CANARY = "c4nary-Passw0rd"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    folder = tmp_path / "installation"
    folder.mkdir(mode=0o700)

    def reading(text: str, env: dict[str, str] | None = None) -> LoadedSettings:
        path = folder / "server.toml"
        path.write_text(f'[server]\nfqdn = "scan.example.com"\n{text}')
        return load_settings(path, env or {})

    return reading


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[sharepoint.sites."sp.example.com"]', "is no site"),
        ('[sharepoint.sites."https://sp.example.com/sites/x"]', "is no site"),
        ('[sharepoint.sites."https://169.254.169.254"]', "never called"),
        ('[sharepoint.sites."http://sp.example.com"]', "has no TLS"),
        (PLAIN + 'auth = "basic"\naccount = "a"', "without TLS"),
        (SITE + 'auth = "basic"', "account is missing, and basic needs one"),
        (SITE + 'auth = "basic"\naccount = "a:b"', "colon"),
        (SITE + 'account = "DSM\\\\a"', "Kerberos knows name@domain"),
        (SITE + 'keytab = "a.keytab"', "a keytab may hold several"),
        (SITE + 'account = "a@b"\nkeytab = "k"\npassword_file = "p"', "one can count"),
        (SITE + 'auth = "ntlm"\naccount = "a"\nkeytab = "k"', "is a file of Kerberos keys"),
        (SITE + 'password_file = "p"', "a password is given"),
        (SITE + 'api = "graph"', "Graph takes tokens alone"),
        (SITE + 'auth = "entra"', "Online takes no token there"),
        (SITE + 'api = "graph"\nauth = "entra"', "tenant is missing, and entra needs it"),
        (SITE + 'tenant = "x"', "counts for entra alone"),
        (SITE + 'library = "a//b"', "is no name of a library"),
        (SITE + 'columns = { "Bad Name" = "x" }', "internal name of a column"),
        (SITE + 'columns = { Title = "{nothing}" }', "there is no field {nothing}"),
        (SITE + '[sharepoint.sites."https://sp.example.com:443"]', "sp.example.com"),
        (PLAIN + SITE, "would share the secrets"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_work_is_refused_with_words(load: Load, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(text)

    assert words in str(refused.value)
    assert refused.value.what_to_do


def test_without_a_site_there_is_no_filter(load: Load) -> None:
    loaded = load("")

    assert sharepoint_filter(loaded) is None
    assert sharepoint_secret_uses(loaded.settings) == []


@pytest.mark.parametrize(
    ("origin", "prefix"),
    [
        ("https://sp.example.com", "sharepoint.sp.example.com"),
        ("https://sp.example.com:8443", "sharepoint.sp.example.com.8443"),
        ("https://[2001:db8::1]", "sharepoint.2001-db8-1.443"),
        ("https://sp_1.example.com", "sharepoint.sp-1.example.com"),
    ],
)
def test_the_name_of_a_secret_names_the_host(origin: str, prefix: str) -> None:
    assert secret_prefix(parse_origin(origin)) == prefix


def test_a_site_with_a_password_needs_one_secret(load: Load) -> None:
    [use] = sharepoint_secret_uses(load(BASIC).settings)

    assert use.name == "sharepoint.sp.example.com.password"
    assert use.destination == (
        "site https://sp.example.com",
        "account svc-sp",
        "by basic",
        "authorities of this system",
    )


@pytest.mark.parametrize("text", [SITE, SITE + 'account = "a@b"\nkeytab = "k"'], ids=["tickets", "keytab"])
def test_kerberos_without_a_password_needs_no_secret(load: Load, text: str) -> None:
    assert sharepoint_secret_uses(load(text).settings) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("svc-sp", "other"),
        ('"basic"', '"ntlm"'),
        ("account =", 'ca = "ca.pem"\naccount ='),
    ],
    ids=["account", "way of logging on", "authorities"],
)
def test_case_26_a_password_is_not_sent_when_the_site_is_another(load: Load, old: str, new: str) -> None:
    loaded = load(BASIC)
    [use] = sharepoint_secret_uses(loaded.settings)
    loaded.secrets.store.keep(use, Secret(CANARY))

    changed = load(BASIC.replace(old, new))
    [other] = sharepoint_secret_uses(changed.settings)

    with pytest.raises(SecretRefused, match="entered for another destination"):
        changed.secrets.find(other)


def test_case_26_another_host_has_another_secret(load: Load) -> None:
    loaded = load(BASIC)
    [use] = sharepoint_secret_uses(loaded.settings)
    loaded.secrets.store.keep(use, Secret(CANARY))

    changed = load(BASIC.replace("sp.example.com", "evil.example"))
    [other] = sharepoint_secret_uses(changed.settings)

    assert changed.secrets.find(other) is None


async def test_a_missing_password_fails_the_delivery_and_not_the_start(load: Load, tmp_path: Path) -> None:
    made = sharepoint_filter(load(BASIC))
    assert made is not None
    document = LibrarySite("https://sp.example.com", tmp_path, tmp_path).document()
    destination = Destination("https://sp.example.com/sites/team/Docs", "the library")

    order = DeliveryOrder(destination, JOB, NO_INSTRUCTIONS, [document])
    with pytest.raises(DeliveryError, match=r"sharepoint\.sp\.example\.com\.password is missing") as failed:
        await made.deliver(order, MemoryLedger())

    assert failed.value.transient
    assert failed.value.reason is FilterStateReason.SHAREPOINT_ACCESS_DENIED
    assert "postscan secrets set sharepoint.sp.example.com.password" in failed.value.what_to_do


ENTRA = (
    'auth = "entra"\ntenant = "example.onmicrosoft.com"\nclient_id = "0f8e1b5e-4cfa-4b8c-9a27-1d1a0c6d9b11"\n'
    'certificate = "app.pem"\nkey = "app.key"\n'
)


@pytest.mark.parametrize(
    ("text", "adapter", "auth"),
    [
        (BASIC, WebdavLibrary, BasicAuth),
        (BASIC.replace("basic", "ntlm"), WebdavLibrary, NtlmAuth),
        (BASIC.replace("basic", "kerberos"), WebdavLibrary, KerberosAuth),
        (BASIC + 'api = "rest"\n', RestLibrary, BasicAuth),
        (SITE + ENTRA + 'api = "rest"\n', RestLibrary, BearerAuth),
        (SITE + ENTRA + 'api = "graph"\n', GraphLibrary, BearerAuth),
    ],
    ids=["webdav basic", "webdav ntlm", "webdav kerberos", "rest basic", "rest entra", "graph entra"],
)
async def test_every_api_and_every_way_of_logging_on_is_made(
    load: Load, monkeypatch: pytest.MonkeyPatch, text: str, adapter: type, auth: type
) -> None:
    loaded = load(text, {"POSTSCAN_SECRET_SHAREPOINT_SP_EXAMPLE_COM_PASSWORD": CANARY})
    write_app(loaded.base)
    made = sharepoint_filter(loaded)
    assert made is not None
    opened: list[object] = []
    monkeypatch.setattr(filters_sharepoint, "HttpSite", lambda _, auth, **__: opened.append(auth))

    [site] = made._sites.values()
    library = site.open_library(parse_library_address("https://sp.example.com/sites/team/Docs"))

    assert isinstance(library, adapter)
    assert [type(one) for one in opened] == [auth]
    assert CANARY not in repr(made) + repr(site)


def write_app(folder: Path) -> None:
    """Write what an Entra app logs on with: any RSA certificate."""
    from postscan.cli.pki import KeyAlgorithm

    write_pair(create_ca("App", algorithm=KeyAlgorithm.RSA), folder / "app.pem", folder / "app.key")


def test_files_that_are_missing_are_told_before_they_are_needed(load: Load) -> None:
    loaded = load(SITE + 'account = "a@b"\nkeytab = "none.keytab"\nca = "none.pem"\n')

    said = list(check_sharepoint(loaded))

    assert [found.key.rpartition(".")[2] for found in said] == ["ca", "keytab"]
    assert all(found.message.endswith("is no file") for found in said)


def test_a_key_that_others_can_read_is_told(load: Load) -> None:
    loaded = load(SITE + ENTRA + 'api = "graph"\n')
    write_app(loaded.base)
    (loaded.base / "app.key").chmod(0o644)

    [found] = check_sharepoint(loaded)

    assert "others can read" in found.message


def test_a_file_without_authorities_is_told(load: Load) -> None:
    loaded = load(SITE + 'ca = "ca.pem"\n')
    (loaded.base / "ca.pem").write_text("nothing")

    [found] = check_sharepoint(loaded)

    assert "holds no authorities in PEM" in found.message

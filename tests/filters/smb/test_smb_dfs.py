"""DFS paths lead to the servers of the list, and to no other: with a real Samba as DFS root."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import DeliveryError
from postscan.filters.smb.folder import SmbFile
from support.smb import ALICES, FIRST, Killed, SmbSite, at
from testservers.fileserver import STRANGER, FileServer

OTHER = "files.example.com"


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the hosts that anybody asked the resolver for, or connected to."""
    asked: list[str] = []
    lookup, connect = socket.getaddrinfo, socket.create_connection

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(str(host))
        return lookup(host, *arguments, **options)

    def create_connection(address: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(str(address[0]))
        return connect(address, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    return asked


async def test_a_folder_of_the_root_itself_is_written_to(smb: SmbSite) -> None:
    (smb.server.folder("dfs") / "inbox").mkdir()
    (smb.server.folder("dfs") / "inbox").chmod(0o777)
    await smb.deliver(smb.document(), to=r"dfs\inbox")
    assert set(smb.content("dfs")) == {f"inbox/{ALICES}/{FIRST}"}


async def test_a_link_to_a_share_of_the_same_server_is_followed(smb: SmbSite) -> None:
    smb.server.link("dfs", "far", r"localhost\scans")
    await smb.deliver(smb.document(), to=r"dfs\far")
    assert set(smb.content()) == {f"{ALICES}/{FIRST}"}


async def test_folders_behind_a_link_are_found(smb: SmbSite) -> None:
    inbox = smb.server.folder("scans") / "ínbox" / "Ā"
    inbox.mkdir(parents=True)
    inbox.chmod(0o777)
    smb.server.link("dfs", "fär 𝟚", r"localhost\scans\ínbox")
    await smb.deliver(smb.document(), to=r"dfs\fär 𝟚\Ā")
    assert set(smb.content()) == {f"ínbox/Ā/{ALICES}/{FIRST}"}


async def test_another_server_is_logged_on_to_with_its_own_account(smb: SmbSite, tmp_path: Path) -> None:
    with FileServer(tmp_path / "other") as other:
        smb.use(at(smb.server.port), at(other.port, STRANGER, OTHER))
        smb.server.link("dfs", "far", rf"{OTHER}\others")
        await smb.deliver(smb.document(), to=r"dfs\far")
        [file] = (other.folder("others") / ALICES).iterdir()
        assert (file.name, file.stat().st_uid) == (FIRST, 54_002)
    assert smb.content() == {}


async def test_a_link_to_a_link_is_followed(smb: SmbSite) -> None:
    smb.server.link("dfs", "one", r"localhost\dfs\two")
    smb.server.link("dfs", "two", r"localhost\scans")
    await smb.deliver(smb.document(), to=r"dfs\one")
    assert len(smb.content()) == 1


async def test_links_in_a_circle_are_a_failure(smb: SmbSite) -> None:
    smb.server.link("dfs", "one", r"localhost\dfs\two")
    smb.server.link("dfs", "two", r"localhost\dfs\one")
    with pytest.raises(DeliveryError) as raised:
        await smb.deliver(smb.document(), to=r"dfs\one")
    assert not raised.value.transient
    assert "without end" in str(raised.value)


@pytest.mark.parametrize(
    "target",
    [
        r"attacker.example\scans",
        r"127.0.0.1\scans",
        r"2130706433\scans",
        r"localhost.attacker.example\scans",
        r"attacker@445\scans",
        r"localhost\hidden$",
        r"localhost\C$",
    ],
)
async def test_case_27_a_referral_to_what_is_not_listed_opens_no_connection(
    smb: SmbSite, looked_up: list[str], target: str
) -> None:
    smb.server.link("dfs", "far", target)
    with pytest.raises(DeliveryError) as raised:
        await smb.deliver(smb.document(), to=r"dfs\far")
    assert raised.value.reason is FilterStateReason.FILE_SHARE_ACCESS_DENIED
    assert not raised.value.transient
    assert "which the settings do not allow" in str(raised.value)
    assert target.partition("\\")[0] in str(raised.value)
    assert set(looked_up) == {"127.0.0.1"}  # what the test's server is reached at


async def test_of_several_targets_those_that_are_listed_are_taken(smb: SmbSite, looked_up: list[str]) -> None:
    smb.server.link("dfs", "far", r"attacker.example\scans", r"localhost\scans")
    await smb.deliver(smb.document(), to=r"dfs\far")
    assert len(smb.content()) == 1
    assert set(looked_up) == {"127.0.0.1"}


async def test_of_several_targets_the_one_that_answers_is_taken(smb: SmbSite, tmp_path: Path) -> None:
    with FileServer(tmp_path / "other") as other:
        smb.use(at(smb.server.port), at(other.port, host=OTHER))
        smb.server.link("dfs", "far", rf"{OTHER}\scans", r"localhost\scans")
        other.kill()
        await smb.deliver(smb.document(), to=r"dfs\far")
    assert len(smb.content()) == 1


async def test_after_a_crash_a_document_is_not_delivered_to_another_replica(
    smb: SmbSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = smb.document()
    rename = SmbFile.rename

    def killed(self: SmbFile, name: str) -> bool:
        rename(self, name)
        raise Killed

    with FileServer(tmp_path / "other") as other:
        smb.use(at(smb.server.port), at(other.port, host=OTHER))
        smb.server.link("dfs", "far", rf"{OTHER}\scans", r"localhost\scans")
        with monkeypatch.context() as patch:
            patch.setattr(SmbFile, "rename", killed)
            with pytest.raises(Killed):
                await smb.deliver(document, to=r"dfs\far")
        used = smb.ledger.notes["target"]
        first, second = (other, smb.server) if OTHER in used else (smb.server, other)
        link = rf"{OTHER}\scans" if second is other else r"localhost\scans"
        smb.server.link("dfs", "far", link, used.removeprefix("\\\\"))
        if first is other:
            other.kill()
            with pytest.raises(DeliveryError) as raised:
                await smb.deliver(document, to=r"dfs\far")
            assert raised.value.transient
            other.start()
        await smb.deliver(document, to=r"dfs\far")
        assert set(smb.ledger.done) == {1}
        names = [path.name for one in (other, smb.server) for path in one.folder("scans").rglob("*.tif")]
    assert names == [FIRST]


async def test_a_root_that_is_away_is_transient(smb: SmbSite) -> None:
    smb.server.link("dfs", "far", r"localhost\scans")
    smb.server.kill()
    with pytest.raises(DeliveryError) as raised:
        await smb.deliver(smb.document(), to=r"dfs\far")
    assert raised.value.transient


async def test_the_probe_says_where_a_link_leads(smb: SmbSite) -> None:
    smb.server.link("dfs", "far", r"localhost\scans")
    assert r"the DFS path leads to \\localhost\scans" in await smb.probe(r"dfs\far")
    assert smb.content() == {}

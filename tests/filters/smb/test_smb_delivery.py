"""Delivering to a real Samba."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postscan.contracts.fsf import FileShareConfig
from postscan.filters.contract import DeliveryError
from postscan.filters.smb import delivery
from postscan.filters.smb.folder import SmbFile
from postscan.filters.smb.transport import SafeConnection
from support.smb import ALICES, FIRST, SmbSite, at
from testservers.fileserver import FileServer

SECOND = FIRST.replace("001", "002")


async def test_a_document_lies_in_the_users_folder_as_it_was_accepted(smb: SmbSite) -> None:
    document = smb.document()
    await smb.deliver(document)
    assert smb.content() == {f"{ALICES}/{FIRST}": document.path.read_bytes()}
    assert smb.ledger.done[1].name == FIRST
    assert smb.ledger.done[1].size == document.size


async def test_all_documents_of_a_job_go_over_one_connection(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    connect = SafeConnection.open
    monkeypatch.setattr(SafeConnection, "open", lambda self: (opened.append(self), connect(self))[1])
    await smb.deliver(*(smb.document(number) for number in range(1, 6)))
    assert len(smb.content()) == 5
    assert len(opened) == 1


async def test_a_document_larger_than_what_can_be_written_at_once_arrives_whole(smb: SmbSite) -> None:
    content = os.urandom(20_000_001)
    await smb.deliver(smb.document(content=content))
    assert smb.content()[f"{ALICES}/{FIRST}"] == content


async def test_an_empty_document_arrives(smb: SmbSite) -> None:
    await smb.deliver(smb.document(content=b""))
    assert smb.content() == {f"{ALICES}/{FIRST}": b""}


async def test_what_was_delivered_is_not_delivered_again(smb: SmbSite) -> None:
    await smb.deliver(smb.document(1), smb.document(2))
    await smb.deliver(smb.document(1), smb.document(2))
    assert set(smb.content()) == {f"{ALICES}/{FIRST}", f"{ALICES}/{SECOND}"}


async def test_a_name_that_is_taken_is_left_alone_and_the_next_one_is_used(smb: SmbSite) -> None:
    folder = smb.server.folder("scans") / ALICES
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    (folder / FIRST).write_bytes(b"somebody else's")
    await smb.deliver(smb.document())
    assert smb.content()[f"{ALICES}/{FIRST}"] == b"somebody else's"
    assert smb.ledger.done[1].name == FIRST.replace(".tif", " (2).tif")


async def test_a_name_taken_at_the_last_moment_is_left_alone(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = SmbFile.rename
    taken = smb.server.folder("scans") / ALICES / FIRST

    def late(self: SmbFile, name: str) -> bool:
        if name == FIRST:
            taken.write_bytes(b"somebody else's")
        return rename(self, name)

    monkeypatch.setattr(SmbFile, "rename", late)
    await smb.deliver(smb.document())
    assert taken.read_bytes() == b"somebody else's"
    assert smb.ledger.done[1].name == FIRST.replace(".tif", " (2).tif")


async def test_only_the_users_folder_is_made(smb: SmbSite) -> None:
    (smb.server.folder("scans") / "inbox").mkdir(mode=0o777)
    (smb.server.folder("scans") / "inbox").chmod(0o777)
    await smb.deliver(smb.document(), to=r"scans\inbox")
    assert smb.folders() == {"inbox", f"inbox/{ALICES}"}


async def test_names_beyond_ascii_arrive_as_they_are(smb: SmbSite) -> None:
    smb.job = dataclasses.replace(smb.job, user_name="zoë", document_root_name="Größe 𝟚 – 収据")
    await smb.deliver(smb.document())
    [path] = smb.content()
    assert path == "zoë@example.com/Größe 𝟚 – 収据_2026-11-21_143005_zoë_001.tif"


async def test_a_hidden_share_is_written_to_where_it_is_listed(smb: SmbSite) -> None:
    smb.use_server(shares=("Hidden$",))
    await smb.deliver(smb.document(), to="hidden$")
    assert len(smb.content("hidden$")) == 1


@pytest.mark.usefixtures("_samba")
@pytest.mark.parametrize("protection", ["off", "desired", "required"])
async def test_it_is_delivered_signed_or_encrypted_as_the_server_can(tmp_path: Path, protection: str) -> None:
    with FileServer(tmp_path / "other", options={"server smb encrypt": protection}) as server:
        site = SmbSite(server, tmp_path / "spool")
        await site.deliver(site.document())
        assert len(site.content()) == 1
        said = (await site.probe())[0]
    assert said.endswith("signed" if protection == "off" else "encrypted")


@pytest.mark.usefixtures("_samba")
@pytest.mark.parametrize("dialect", ["SMB2_02", "SMB2_10", "SMB3_00", "SMB3_02", "SMB3_11"])
async def test_every_dialect_from_smb_2_on_is_spoken(tmp_path: Path, dialect: str) -> None:
    with FileServer(tmp_path / "other", options={"server max protocol": dialect}) as server:
        site = SmbSite(server, tmp_path / "spool")
        content = os.urandom(300_000)
        await site.deliver(site.document(content=content))
        assert list(site.content().values()) == [content]


async def test_many_jobs_at_once_do_not_meet(smb: SmbSite) -> None:
    jobs = [dataclasses.replace(smb.job, token=f"job-{number}") for number in range(8)]

    async def one(number: int) -> None:
        mine = SmbSite(smb.server, smb.spool)
        mine.filter, mine.job = smb.filter, jobs[number]
        await mine.deliver(smb.document(number + 1, f"job {number}".encode()))

    await asyncio.gather(*(one(number) for number in range(8)))
    assert sorted(smb.content().values()) == [f"job {number}".encode() for number in range(8)]


async def test_documents_of_one_name_get_theirs_in_order(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(*_: object, attempt: int = 0, **__: object) -> str:
        return f"Scan ({attempt + 1}).tif"

    monkeypatch.setattr(delivery, "document_name", same)
    sizes = [40, 3_000_000, 7, 900_000, 1, 2_000_000, 5, 60_000]
    documents = [smb.document(number, bytes([number]) * size) for number, size in enumerate(sizes, 1)]
    await smb.deliver(*documents)
    names = {number: done.name for number, done in smb.ledger.done.items()}
    assert names == {number: f"Scan ({number}).tif" for number in range(1, 9)}
    for number, name in names.items():
        assert smb.content()[f"{ALICES}/{name}"] == documents[number - 1].path.read_bytes()


async def test_after_a_failure_the_others_that_were_begun_leave_nothing(smb: SmbSite) -> None:
    documents = [smb.document(number) for number in range(1, 21)]
    documents[5].path.unlink()
    with pytest.raises(DeliveryError, match="document 6 cannot be read from the spool"):
        await smb.deliver(*documents)
    assert set(smb.ledger.done) == {1, 2, 3, 4, 5}
    assert len(smb.content()) == 5
    documents[5] = smb.document(6)
    await smb.deliver(*documents)
    assert len(smb.content()) == 20


async def test_large_documents_at_once_do_not_run_out_of_credits(smb: SmbSite) -> None:
    documents = [smb.document(number, os.urandom(9 << 20)) for number in range(1, 7)]
    await smb.deliver(*documents)
    assert sorted(smb.content().values()) == sorted(one.path.read_bytes() for one in documents)


async def test_a_mapped_root_comes_before_the_server(smb: SmbSite, tmp_path: Path) -> None:
    here = tmp_path / "mounted"
    here.mkdir()
    smb.use(at(smb.server.port), unc_map={r"\\localhost\scans": here})
    await smb.deliver(smb.document())
    assert smb.content() == {}
    assert (here / ALICES / FIRST).is_file()


async def test_no_connection_is_left_behind(smb: SmbSite) -> None:
    await smb.deliver(smb.document())
    await asyncio.to_thread(_wait_for_none, smb.server)


def _wait_for_none(server: FileServer) -> None:
    while server.connections():
        pass


def test_the_configuration_names_the_shares_that_are_listed(smb: SmbSite) -> None:
    smb.use_server(shares=("scans", "hidden$"))
    told = smb.filter.configuration()
    assert told is not None
    assert FileShareConfig.from_element(told).share_uncs == (r"\\localhost\scans", r"\\localhost\hidden$")


_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(root=_NAMES, user=_NAMES)
def test_whatever_people_are_called_their_document_arrives(smb: SmbSite, root: str, user: str) -> None:
    site = SmbSite(smb.server, smb.spool)
    site.job = dataclasses.replace(smb.job, user_name=user, document_root_name=root)
    before = len(site.content())
    asyncio.run(site.deliver(site.document()))
    assert len(site.content()) == before + 1
    assert site.ledger.done[1].size == site.document().size


def test_spellings_of_one_folder_are_one_destination(smb: SmbSite) -> None:
    spellings = (
        r"\\localhost\scans\In",
        "\\\\LOCALHOST\\Scans\\in\\",
        r"\\localhost\SCANS\IN",
        r"\\localhost\scans",
    )
    instructions = FileShareConfig(share_uncs=spellings).to_element()
    found = [one.key for one in smb.filter.destinations(instructions, smb.job)]
    assert found == [r"\\localhost\scans\In", r"\\localhost\scans"]

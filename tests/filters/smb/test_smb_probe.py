"""Proving a destination without a job: all that a delivery does, and nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import DeliveryError, ProbedFilter, ProbeOrder
from postscan.filters.smb.folder import SmbFile
from support.delivery import NO_INSTRUCTIONS, ShareSite
from support.smb import SmbSite


async def test_a_probe_writes_renames_reads_and_removes(smb: SmbSite) -> None:
    assert isinstance(smb.filter, ProbedFilter)
    proven = await smb.probe()
    assert proven == [
        "localhost lets scanner in; what is sent is encrypted",
        "the user's folder alice@example.com was made, and removed again",
        "a file was written, renamed, read back as it was written, and removed again",
    ]
    assert (smb.content(), smb.folders()) == ({}, set())


async def test_a_folder_that_was_there_stays(smb: SmbSite) -> None:
    await smb.deliver(smb.document())
    before = smb.content()
    assert "the user's folder alice@example.com is there" in await smb.probe()
    assert smb.content() == before


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("readonly", FilterStateReason.FILE_SHARE_ACCESS_DENIED),
        ("nosuch", FilterStateReason.UNKNOWN_ERROR),
        (r"scans\nosuch", FilterStateReason.UNKNOWN_ERROR),
    ],
)
async def test_a_probe_fails_as_a_delivery_would(smb: SmbSite, to: str, reason: FilterStateReason) -> None:
    with pytest.raises(DeliveryError) as raised:
        await smb.probe(to)
    assert raised.value.reason is reason


async def test_a_probe_that_fails_half_way_leaves_nothing(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: SmbFile, name: str) -> bool:
        raise OSError("disturbed")

    monkeypatch.setattr(SmbFile, "rename", refused)
    with pytest.raises(DeliveryError):
        await smb.probe()
    assert (smb.content(), smb.folders()) == ({}, set())


async def test_a_full_share_fails_the_probe(smb: SmbSite) -> None:
    (smb.server.folder("tiny") / "filler").write_bytes(bytes(4 << 20))
    with pytest.raises(DeliveryError) as raised:
        await smb.probe("tiny")
    assert raised.value.reason is FilterStateReason.FILE_SHARE_OUT_OF_DISK_SPACE
    assert set(smb.content("tiny")) == {"filler"}


async def test_a_folder_of_this_machine_is_probed_likewise(site: ShareSite) -> None:
    order = ProbeOrder(site.destination, site.job, NO_INSTRUCTIONS)
    assert "was made, and removed again" in (await site.filter.probe(order))[0]
    assert list(site.share.iterdir()) == []
    site.alices.mkdir()
    assert "is there" in (await site.filter.probe(order))[0]
    assert list(site.share.rglob("*")) == [site.alices]


async def test_a_folder_that_is_away_fails_the_probe(site: ShareSite, tmp_path: Path) -> None:
    site.share.rmdir()
    with pytest.raises(DeliveryError) as raised:
        await site.filter.probe(ProbeOrder(site.destination, site.job, NO_INSTRUCTIONS))
    assert raised.value.transient
    assert not site.share.exists()
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["spool"]

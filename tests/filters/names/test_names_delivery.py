"""Documents that were named arrive under their names on a real file system, whatever the names are."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from postscan.filters.contract import SpooledDocument
from support.delivery import ShareSite
from support.names import NASTY


def named(site: ShareSite, number: int, name: str | None) -> SpooledDocument:
    return replace(site.document(number), name=name)


async def test_two_documents_of_one_name_are_told_apart_as_any_files_are(site: ShareSite) -> None:
    await site.deliver(*(named(site, number, "Contract") for number in (1, 2, 3)))
    assert sorted(path.name for path in site.alices.iterdir()) == [
        "Contract (2).tif",
        "Contract (3).tif",
        "Contract.tif",
    ]
    assert [site.ledger.done[number].name for number in (1, 2, 3)] == [
        "Contract.tif",
        "Contract (2).tif",
        "Contract (3).tif",
    ]


async def test_a_name_that_is_taken_by_somebody_elses_file_is_left_to_it(site: ShareSite) -> None:
    site.alices.mkdir()
    (site.alices / "Contract.tif").write_bytes(b"theirs")
    await site.deliver(named(site, 1, "Contract"))
    assert (site.alices / "Contract.tif").read_bytes() == b"theirs"
    assert site.ledger.done[1].name == "Contract (2).tif"


@settings(max_examples=30, deadline=None)
@given(st.lists(NASTY, min_size=1, max_size=4))
async def test_case_28_whatever_the_names_are_all_arrives_in_the_users_folder(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = ShareSite(Path(folder) / "site")
        documents = [named(site, number, name) for number, name in enumerate(names, start=1)]
        await site.deliver(*documents)
        arrived = {Path(base) / name for base, _, files in os.walk(site.share) for name in files}
        assert {path.parent for path in arrived} == {site.alices}
        assert {path.name for path in arrived} == {site.ledger.done[n].name for n in range(1, len(names) + 1)}
        assert len(arrived) == len(names)

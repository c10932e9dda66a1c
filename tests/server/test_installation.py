"""What a server is recognised by, over restarts and wrong clocks."""

import json
from pathlib import Path

import pytest

from postscan.core.errors import ConfigurationError
from postscan.server import installation
from postscan.server.installation import Installation


def no_room(path: Path, text: str) -> None:
    raise OSError(28, "No space left on device")


def test_the_instance_id_grows_with_every_start_whatever_the_clock_says(tmp_path: Path) -> None:
    starts = [Installation(tmp_path).identity("same", now) for now in (1_000, 2_000, 5, 5, 2_001, 9_000)]
    assert [start.instance_id for start in starts] == [1_000, 2_000, 2_001, 2_002, 2_003, 9_000]
    assert len({(start.wsdsp, start.serial_number, start.metadata_version) for start in starts}) == 1


def test_the_metadata_version_grows_with_what_the_metadata_says(tmp_path: Path) -> None:
    versions = [Installation(tmp_path).identity(text, 1).metadata_version for text in "aabba"]
    assert versions == [1, 1, 2, 2, 3]


def test_an_installation_of_before_ws_dsc_gets_it_added_and_keeps_all_else(tmp_path: Path) -> None:
    known = Installation(tmp_path).identity("same", 1_000)
    kept = json.loads((tmp_path / "identity.json").read_text())
    del kept["wsdsc"]
    (tmp_path / "identity.json").write_text(json.dumps(kept))
    older = Installation(tmp_path).identity("same", 2_000)
    again = Installation(tmp_path).identity("same", 3_000)
    assert (older.wsdsp, older.serial_number) == (known.wsdsp, known.serial_number)
    assert older.metadata_version == known.metadata_version + 1
    assert (again.wsdsc, again.metadata_version) == (older.wsdsc, older.metadata_version)
    assert again.wsdsc != again.wsdsp


def test_a_change_while_running_has_a_version_that_the_next_start_knows(tmp_path: Path) -> None:
    running = Installation(tmp_path)
    first = running.identity("one", 1_000)
    assert [running.changed(text) for text in ("two", "two", "three")] == [2, 3, 4]
    again = Installation(tmp_path).identity("three", 2_000)
    assert (again.metadata_version, again.wsdsc) == (4, first.wsdsc)


def test_a_change_that_cannot_be_kept_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Installation(tmp_path)
    running.identity("one", 1_000)
    with monkeypatch.context() as full:
        full.setattr(installation, "_write_durably", no_room)
        with pytest.raises(ConfigurationError):
            running.changed("two")
    assert running.changed("two") == 2


def test_a_full_disk_stops_the_first_start_and_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Installation(tmp_path).identity("same", 1_000)
    monkeypatch.setattr(installation, "_write_durably", no_room)
    again = Installation(tmp_path).identity("same", 2_000)
    assert (again.wsdsp, again.instance_id) == (known.wsdsp, 2_000)
    (tmp_path / "fresh").mkdir()
    with pytest.raises(ConfigurationError):
        Installation(tmp_path / "fresh").identity("same", 1_000)

"""A folder below a mount point with nothing mounted is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from postscan.filters.mounts import missing_mount

FSTAB = r"""# device  where  type  options
/dev/sda1 / ext4 defaults 0 1
//files/scans /mnt/scans cifs credentials=/etc/x 0 0
//files/two\040words /mnt/two\040words cifs x 0 0
UUID=1 none swap sw 0 0
broken
"""
ROOT_ONLY = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
ALL = ROOT_ONLY + (
    "23 22 0:40 / /mnt/scans rw - cifs //files/scans rw\n24 22 0:41 / /mnt/two\\040words rw - cifs x rw\n"
)


@pytest.mark.parametrize(
    ("folder", "mounted", "missing"),
    [
        ("/mnt/scans", ROOT_ONLY, "/mnt/scans"),
        ("/mnt/scans/a/b", ROOT_ONLY, "/mnt/scans"),
        ("/mnt/scans/a/b", ALL, None),
        ("/mnt/scans2", ROOT_ONLY, None),
        ("/srv/scans", ROOT_ONLY, None),
        ("/mnt/two words/a", ROOT_ONLY, "/mnt/two words"),
        ("/mnt/two words/a", ALL, None),
    ],
)
def test_a_mount_that_is_missing_is_named(
    tmp_path: Path, folder: str, mounted: str, missing: str | None
) -> None:
    table, present = tmp_path / "fstab", tmp_path / "mountinfo"
    table.write_text(FSTAB)
    present.write_text(mounted)
    found = missing_mount(Path(folder), table, present)
    assert found == (Path(missing) if missing else None)


def test_a_machine_without_a_mount_table_misses_nothing(tmp_path: Path) -> None:
    assert missing_mount(Path("/srv"), tmp_path / "none") is None

"""Packages with filters, installed into folders of a test's own."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
_numbers = itertools.count()


def install(folder: Path, name: str, entry_points: dict[str, str], source: str) -> str:
    """Lay a package of one module down as pip would, and return the module's name.

    :param entry_points: name and attribute of the module, of each entry point of ``postscan.filters``.
    """
    module = f"filters_of_a_test_{next(_numbers)}"
    (folder / f"{module}.py").write_text(textwrap.dedent(source))
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        f"{point} = {module}{f':{attribute}' if attribute else ''}"
        for point, attribute in entry_points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(["[postscan.filters]", *lines, ""]))
    return module


def install_example(name: str, folder: Path) -> Path:
    """Install a package of examples/ with pip into a folder, without a network; skips when pip cannot."""
    for needed in ("pip", "hatchling"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed, with which examples/{name} is")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)),
            str(EXAMPLES / name),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder

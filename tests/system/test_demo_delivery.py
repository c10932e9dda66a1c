"""`make demo-delivery` shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testservers.demo_installation import missing

ROOT = Path(__file__).parents[2]
_LACKING = missing()
pytestmark = pytest.mark.skipif(bool(_LACKING), reason=f"no demo of delivery: {'; '.join(_LACKING)}")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Return a folder that the servers' own accounts can pass through, as pytest's are private."""
    with tempfile.TemporaryDirectory(prefix="demo-delivery-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _demo(temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "testservers", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
    )


@pytest.mark.timeout(600)
def test_the_demo_of_delivery_ends_as_it_should(temporary: Path) -> None:
    with _demo(temporary) as demo:
        said, _ = demo.communicate()
    assert demo.returncode == 0, said
    assert said.splitlines()[-1].startswith("4 jobs of 3 pages, 16 files of 4 different contents; ")
    assert said.splitlines()[-1].endswith(": all as it should be")
    assert list(temporary.iterdir()) == []


@pytest.mark.timeout(300)
def test_a_demo_of_delivery_that_is_told_to_stop_cleans_up(temporary: Path) -> None:
    with _demo(temporary) as demo:
        assert demo.stdout is not None
        while not demo.stdout.readline().startswith("2. "):
            assert demo.poll() is None
        demo.terminate()
        demo.communicate()
    assert demo.returncode == 130
    assert list(temporary.iterdir()) == []
    left = subprocess.run(["pgrep", "-f", str(temporary)], capture_output=True, text=True, check=False)
    assert left.stdout == ""

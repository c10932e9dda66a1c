"""`make demo-ad` shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testdomain.domain import missing
from testdomain.run import TEMPLATE_VARIABLE, template_folder

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(missing()), reason=f"no test domain: {'; '.join(missing())}")
def test_the_demo_over_a_domain_ends_as_it_should(domain_shared: Path, tmp_path: Path) -> None:
    environment = dict(os.environ) | {
        TEMPLATE_VARIABLE: str(template_folder(domain_shared)),
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "testdomain", "demo"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment
    ) as demo:
        said, _ = demo.communicate()
    assert demo.returncode == 0, said
    assert said.splitlines()[-1] == "9 attempts, 2 files: all as it should be"
    assert list(tmp_path.iterdir()) == []
    assert list(Path("/run/netns").glob(f"testdomain{demo.pid}x*")) == []


@pytest.mark.skipif(bool(missing()), reason=f"no test domain: {'; '.join(missing())}")
def test_a_demo_that_is_told_to_stop_cleans_up(domain_shared: Path, tmp_path: Path) -> None:
    environment = dict(os.environ) | {
        TEMPLATE_VARIABLE: str(template_folder(domain_shared)),
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "testdomain", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as demo:
        assert demo.stdout is not None
        while not demo.stdout.readline().startswith("2. "):
            assert demo.poll() is None
        demo.terminate()
        demo.communicate()
    assert demo.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert list(Path("/run/netns").glob(f"testdomain{demo.pid}x*")) == []

"""`python -m testdomain`: a domain for people to try commands against."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.domain import Domain

ROOT = Path(__file__).parents[2]


def testdomain(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "testdomain", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


testdomain.__test__ = False  # type: ignore[attr-defined]


def test_a_domain_is_brought_up_used_and_taken_down(domain: Domain, tmp_path: Path) -> None:
    domain.stop()  # what is copied must not be written to meanwhile
    folder = domain.folder.copy(tmp_path / "domain").path
    domain.start()
    said = testdomain("up", folder)
    try:
        assert said.returncode == 0, said.stderr
        assert "alice@dsm.test" in said.stdout
        space = json.loads((folder / "running.json").read_text())["namespace"]
        assert "is up already" in testdomain("up", folder).stderr
        search = ["ldapsearch", "-x", "-LLL", "-H", "ldap://dc1.dsm.test", "-s", "base", "-b", ""]
        assert "DC=dsm,DC=test" in testdomain("run", folder, *search, "defaultNamingContext").stdout
        assert testdomain("run", folder, "sh", "-c", "exit 7").returncode == 7
    finally:
        ended = testdomain("down", folder, "--remove")
    assert ended.returncode == 0, ended.stderr
    assert not folder.exists()
    assert not Path("/run/netns", space).exists()
    assert not Path("/etc/netns", space).exists()


def test_taking_down_what_is_not_up_says_so(tmp_path: Path) -> None:
    said = testdomain("down", tmp_path)
    assert (said.returncode, said.stderr) == (1, f"testdomain: no domain is up in {tmp_path}\n")


def test_a_folder_that_holds_something_else_is_left_alone(domain: Domain, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("mine")
    said = testdomain("up", tmp_path)
    assert said.returncode == 1
    assert "is not empty" in said.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]

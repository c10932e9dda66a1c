"""A dry run of scan processes of a real domain: by the server, and by the command itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from postscan.cli.exit_codes import ExitCode
from postscan.cli.installation import Installation
from support.commands import PROGRAM
from support.domain import Domain
from support.office import VOUCHING, make_office, serving_apart


def dry_run(domain: Domain, made: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    return domain.run([*PROGRAM, "processes", "test", *words, "--config", made.config])


@pytest.fixture
def made(domain: Domain, tmp_path: Path) -> Installation:
    return make_office(domain, tmp_path / "site", **VOUCHING)


def test_it_is_tried_for_the_one_whom_the_descriptor_names(domain: Domain, made: Installation) -> None:
    with serving_apart(domain, made):
        done = dry_run(domain, made, "For Alice alone", "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    told = json.loads(done.stdout)
    assert (told["tried_by"], told["user"]["upn"], told["failures"]) == ("server", "alice@dsm.test", 0)


def test_who_has_no_right_cannot_be_tried_for(domain: Domain, made: Installation) -> None:
    with serving_apart(domain, made):
        done = dry_run(domain, made, "For Alice alone", "--user", "bob")
    assert done.returncode == ExitCode.REFUSED
    assert "bob@dsm.test may not use For Alice alone" in done.stderr


def test_a_process_for_a_group_is_tried_for_the_user_who_is_named(domain: Domain, made: Installation) -> None:
    refused = dry_run(domain, made, "Staff archive")
    assert refused.returncode == ExitCode.REFUSED
    assert "it is given to groups" in refused.stderr
    done = dry_run(domain, made, "Staff archive", "--user", "bob", "--here", "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    assert json.loads(done.stdout)["tried_by"] == "command"

"""`make fuzz` itself: it finds what is broken, and says how to see it again."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fuzz.__main__ import fuzz
from fuzz.mutation import mutate_xml
from fuzz.target import Target, Violation, check, must
from fuzz.targets import TARGETS
from postscan.core.errors import PostscanError
from postscan.soap.xml import parse

ROOT = Path(__file__).parents[2]
needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed: it has packages for Linux on x86-64 alone",
)


def made(run: object) -> Target:
    return Target("made", run, lambda: [b"good"], lambda data, random: data)  # type: ignore[arg-type] # a test's own


def test_a_refusal_is_no_finding() -> None:
    def refuse(data: bytes) -> None:
        raise PostscanError("no")

    check(made(refuse), b"")


@pytest.mark.parametrize("error", [ValueError("x"), RecursionError(), KeyError("x"), Violation("too large")])
def test_any_other_error_is_a_finding(error: Exception) -> None:
    def fail(data: bytes) -> None:
        raise error

    with pytest.raises(type(error)):
        check(made(fail), b"")


def test_a_refusal_that_cannot_be_told_is_a_finding() -> None:
    def refuse(data: bytes) -> None:
        raise PostscanError("")

    with pytest.raises(Violation, match="without words"):
        check(made(refuse), b"")


def test_an_input_that_takes_too_long_is_a_finding() -> None:
    with pytest.raises(Violation, match="of the processor"):
        check(made(lambda data: must(True, "")), b"", most_seconds=-1.0)


def test_odd_messages_are_often_still_xml_and_mostly_changed() -> None:
    chances = Random(7)
    seed = TARGETS["wsdsp"].seeds()[0]
    odd = [mutate_xml(seed, chances) for _ in range(300)]
    assert sum(message != seed for message in odd) > 200
    readable = 0
    for message in odd:
        try:
            parse(message)
        except PostscanError:
            continue
        readable += 1
    assert readable > 50


def repeated(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fuzz.repeat", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


def test_an_input_can_be_read_again_by_its_digits() -> None:
    said = repeated("mime", TARGETS["mime"].seeds()[0].hex())
    assert said.returncode == 0, said.stderr
    assert "read as they should be" in said.stdout


@needs_atheris
@pytest.mark.parametrize("name", ["discovery", "http_head"])
def test_a_target_is_fuzzed_for_a_bounded_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    outcome = fuzz(TARGETS[name], 1)
    assert outcome.held, outcome.told
    assert outcome.inputs > len(TARGETS[name].seeds())
    assert outcome.covered > 0

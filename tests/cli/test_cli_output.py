"""Output: tables, JSON, and nothing that a file or peer wrote can steer the terminal."""

from __future__ import annotations

import io
import json
import sys

import pytest

from postscan.cli.output import Output, print_error, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_in_a_pipe_is_plain_aligned_text() -> None:
    stream = io.StringIO()
    Output(stream=stream).table(["name", "size"], [("a", 1), ("longer", None)])
    assert stream.getvalue() == "NAME    SIZE\na       1\nlonger  -\n"


def test_a_row_in_a_pipe_is_never_folded() -> None:
    stream = io.StringIO()
    Output(stream=stream).table(["name"], [("x" * 500,)])
    assert "x" * 500 in stream.getvalue().splitlines()


def test_a_table_on_a_terminal_is_drawn() -> None:
    stream = Terminal()
    Output(stream=stream).table(["name"], [("[bold]a[/bold]",)], styles={"name": lambda _text: "red"})
    assert "─" in stream.getvalue()
    assert "[bold]a[/bold]" in stream.getvalue()


def test_text_for_people_is_left_out_of_json() -> None:
    stream = io.StringIO()
    output = Output(json=True, stream=stream)
    output.line("hello")
    output.table(["a"], [("b",)])
    output.result({"name": "Büro"})
    assert json.loads(stream.getvalue()) == {"name": "Büro"}


def test_json_is_left_out_of_text_for_people() -> None:
    stream = io.StringIO()
    output = Output(stream=stream)
    output.result({"a": 1})
    output.json_line({"a": 1})
    assert stream.getvalue() == ""


def test_control_characters_do_not_reach_the_terminal() -> None:
    stream = io.StringIO()
    output = Output(stream=stream)
    output.line("a\x1b[2Jb\nc")
    output.table(["x"], [("d\x07e",)])
    assert stream.getvalue() == "a\ufffd[2Jb\ufffdc\nX\nd\ufffde\n"


@pytest.mark.parametrize("odd", ["\x1b[2J", "\x9b2J", "\x7f", "\u202egnp", "\u2028", "\udce9"])
def test_case_43_json_steers_no_terminal_and_loses_nothing(odd: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="utf-8", write_through=True) as stream:
        output = Output(json=True, stream=stream)
        output.json_line({"name": f"Bäcker{odd}"})
        output.result([f"Bäcker{odd}"])
        written = raw.getvalue().decode()
    assert all(char.isprintable() or char == "\n" for char in written)
    assert "Bäcker" in written
    assert json.loads(written.splitlines()[0]) == {"name": f"Bäcker{odd}"}


def test_an_error_is_told_with_what_to_do() -> None:
    stream = io.StringIO()
    print_error("it broke\n  - here", "mend it", stream)
    assert stream.getvalue() == "error: it broke\n  - here\nwhat to do: mend it\n"


def test_without_a_terminal_progress_draws_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(Output()) as bars:
        task = bars.task("sending", total=2)
        task.advance()
        task.describe("still sending")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_progress_draws_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(Output(), octets=True) as bars:
        task = bars.task("sending", total=1_000_000)
        task.advance(500_000)
        task.describe("half way")
    assert "half way" in stream.getvalue()


def test_a_long_word_on_a_narrow_terminal_is_folded_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    Output(stream=stream).table(["a", "b"], [("k" * 20, "v" * 60)], whole=["a"])
    assert stream.getvalue().count("v") == 60
    assert "k" * 20 in stream.getvalue()


def test_a_warning_is_told_as_one() -> None:
    stream = io.StringIO()
    print_error("odd", stream=stream, warning=True)
    assert stream.getvalue() == "warning: odd\n"

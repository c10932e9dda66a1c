"""Tables of tables in the settings, and the free tables of filters that other packages bring."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import create_model

import postscan.cli.settings
from postscan.cli import main
from postscan.cli.reloading import SettingsFile
from postscan.cli.settings import LoadedSettings, load_settings
from postscan.cli.settings_base import Contradiction, HostName, Section, setting
from postscan.cli.settings_model import SECTIONS, Settings
from postscan.cli.settings_text import server_toml
from postscan.core.errors import ConfigurationError

SERVER = '[server]\nfqdn = "scan.example.com"\n'
FILES = '[laboratory.servers."files.example.com"]\n'


class Host(Section):
    """One of several hosts."""

    bind: Literal["kerberos", "ntlm"] = setting("kerberos", "How it is done.")
    account: str = setting(..., "Whose account it is.")
    port: int = setting(445, "The port.", unit="number", least=1)
    keytab: Literal[""] | Path = setting("", "A file of keys.")

    def contradictions(self) -> Iterator[Contradiction]:
        if self.bind == "ntlm" and self.keytab:
            yield Contradiction("keytab", "means nothing to NTLM", "take it out")


class Laboratory(Section):
    """A section for these tests."""

    rooms: int = setting(1, "How many rooms.", unit="rooms")
    servers: dict[HostName, Host] = setting({}, "Its hosts, each a table.", example="files.example.com")


@pytest.fixture(autouse=True)
def _laboratory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the settings have one section more."""
    more: Any = create_model("More", __base__=Settings, laboratory=(Laboratory, Laboratory()))
    monkeypatch.setitem(SECTIONS, "laboratory", Laboratory)
    monkeypatch.setattr(postscan.cli.settings, "Settings", more)


def load(folder: Path, text: str, env: dict[str, str] | None = None) -> LoadedSettings:
    path = folder / "server.toml"
    path.write_text(SERVER + text, encoding="utf-8")
    return load_settings(path, env or {})


def refusal(folder: Path, text: str, env: dict[str, str] | None = None) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, env)
    return caught.value


def laboratory(loaded: LoadedSettings) -> Laboratory:
    found = getattr(loaded.settings, "laboratory")  # noqa: B009 - mypy does not know this section
    assert isinstance(found, Laboratory)
    return found


def told(loaded: LoadedSettings, section: str) -> dict[str, tuple[Any, str]]:
    return {
        shown.key: (shown.value, loaded.origin_of(shown))
        for shown in loaded.values()
        if shown.key.startswith(f"{section}.")
    }


def test_each_table_is_read_with_the_defaults_of_what_it_leaves_out(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, FILES + 'account = "scan"\n[laboratory.servers.nas]\naccount = "b"\nport = 1445\n'
    )
    servers = laboratory(loaded).servers
    assert (servers["files.example.com"].port, servers["nas"].port) == (445, 1445)


def test_relative_paths_in_a_table_belong_to_the_folder_of_the_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, FILES + 'account = "scan"\nkeytab = "own.keytab"\n')
    assert laboratory(loaded).servers["files.example.com"].keytab == tmp_path / "own.keytab"


def test_every_value_of_a_table_is_told_with_where_it_came_from(tmp_path: Path) -> None:
    loaded = load(tmp_path, FILES + 'account = "scan"\nkeytab = "own.keytab"\n')
    assert told(loaded, "laboratory") == {
        "laboratory.rooms": (1, "default"),
        'laboratory.servers."files.example.com".bind': ("kerberos", "default"),
        'laboratory.servers."files.example.com".account': ("scan", "file"),
        'laboratory.servers."files.example.com".port': (445, "default"),
        'laboratory.servers."files.example.com".keytab': (tmp_path / "own.keytab", "file"),
    }


def test_a_variable_replaces_all_tables_of_the_file(tmp_path: Path) -> None:
    env = {"POSTSCAN_LABORATORY__SERVERS": '{"other.example.com": {"account": "b"}}'}
    loaded = load(tmp_path, FILES + 'account = "scan"\n', env)
    assert list(laboratory(loaded).servers) == ["other.example.com"]
    origin = told(loaded, "laboratory")['laboratory.servers."other.example.com".account'][1]
    assert origin == "environment POSTSCAN_LABORATORY__SERVERS"


@pytest.mark.parametrize(
    ("text", "message", "advice"),
    [
        (
            FILES,
            'laboratory.servers."files.example.com".account is missing',
            'write account = "..." under [laboratory.servers."files.example.com"]: Whose account it is.',
        ),
        (
            FILES + 'account = "a"\nacount = "b"\n',
            'there is no key acount in [laboratory.servers."files.example.com"]',
            "is account",
        ),
        (
            FILES + 'account = "a"\nport = 0\n',
            'laboratory.servers."files.example.com".port = 0 is wrong',
            "Such as 445 (number).",
        ),
        (FILES + 'account = "a"\nbind = "basic"\n', "'kerberos' or 'ntlm'", "How it is done."),
        (
            FILES + 'account = "a"\nbind = "ntlm"\nkeytab = "k"\n',
            'laboratory.servers."files.example.com".keytab means nothing to NTLM',
            "take it out",
        ),
        (
            '[laboratory.servers."no host"]\naccount = "a"\n',
            'laboratory.servers."no host" is no host name',
            'correct "no host"',
        ),
        (
            '[laboratory.servers.nas]\naccount = "a"\n[laboratory.servers.NAS]\naccount = "b"\n',
            "laboratory.servers has two names that mean the same: nas, NAS",
            "once",
        ),
        ("[laboratory]\nservers = 5\n", "is no table of tables", '[laboratory.servers."NAME"]'),
        (
            "[laboratory.servers]\nnas = 5\n",
            "laboratory.servers.nas = 5 is no table",
            "[laboratory.servers.nas]",
        ),
        ("[filters]\nhttp-put = 5\n", "filters.http-put = 5 is no table", "write [filters.http-put]"),
        ('[filters]\ndisable = ["x"]\n', "filters.disable", "the nearest key of [filters] is disabled"),
        ("[filters.Http_Put]\n", "filters.Http_Put is no filter's name", "write a table like"),
        ('[filters]\ndisabled = ["A b"]\n', 'filters.disabled = "A b" is no filter\'s name', "disabled in"),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_whole_key(
    tmp_path: Path, text: str, message: str, advice: str
) -> None:
    error = refusal(tmp_path, text)
    assert message in str(error)
    assert str(tmp_path / "server.toml") in str(error)
    assert advice in error.what_to_do


def test_what_is_wrong_in_a_variable_is_told_with_its_name(tmp_path: Path) -> None:
    env = {"POSTSCAN_LABORATORY__SERVERS": '{"nas": {"account": "a", "port": "many"}}'}
    error = refusal(tmp_path, "", env)
    assert str(error).startswith("environment POSTSCAN_LABORATORY__SERVERS: laboratory.servers.nas.port")


def test_a_variable_that_is_no_json_is_told(tmp_path: Path) -> None:
    assert "POSTSCAN_LABORATORY__SERVERS" in str(refusal(tmp_path, "", {"POSTSCAN_LABORATORY__SERVERS": "{"}))
    assert "filters.http-put" in str(refusal(tmp_path, "", {"POSTSCAN_FILTERS__HTTP_PUT": "{"}))


def test_the_written_file_has_an_example_of_a_table_that_works_without_its_marks() -> None:
    text = server_toml({"server": {"fqdn": "scan.example.com"}})
    _, _, example = text.partition("# Its hosts, each a table.\n")
    shown, _, _ = example.partition("\n\n")
    unmarked = re.sub(r"^#   ", "", shown, flags=re.MULTILINE)
    (table,) = tomllib.loads(unmarked)["laboratory"]["servers"].values()
    assert Host(**table).port == 445
    assert "# The port. Unit: number." in unmarked


def test_tables_that_are_given_are_written(tmp_path: Path) -> None:
    text = server_toml(
        {
            "server": {"fqdn": "scan.example.com"},
            "laboratory": {"servers": {"files.example.com": {"account": "scan", "port": 1445}}},
            "filters": {"disabled": ["ocr"], "http-put": {"folders": ["https://files.example.com/"]}},
        }
    )
    path = tmp_path / "server.toml"
    path.write_text(text)
    loaded = load_settings(path, {})
    assert laboratory(loaded).servers["files.example.com"].port == 1445
    assert loaded.settings.filters.disabled == ["ocr"]
    assert loaded.settings.filters.settings_of("http-put") == {"folders": ["https://files.example.com/"]}


def test_a_free_table_takes_any_key(tmp_path: Path) -> None:
    loaded = load(tmp_path, "[filters.http-put]\nfolders = ['https://a']\nretries = 3\n")
    assert loaded.settings.filters.settings_of("http-put") == {"folders": ["https://a"], "retries": 3}
    assert loaded.settings.filters.settings_of("another") == {}
    assert told(loaded, "filters")["filters.http-put.retries"] == (3, "file")


def test_a_variable_with_low_lines_sets_the_table_of_a_filter_with_hyphens(tmp_path: Path) -> None:
    env = {"POSTSCAN_FILTERS__HTTP_PUT": '{"retries": 4}'}
    loaded = load(tmp_path, "[filters.http-put]\nretries = 3\n", env)
    assert told(loaded, "filters")["filters.http-put.retries"] == (
        4,
        "environment POSTSCAN_FILTERS__HTTP_PUT",
    )


def test_what_looks_like_a_secret_in_a_free_table_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        '[filters.http-put]\npassword = "kanarie"\nproxy = {api_token = "kanarie", port = 3128}\n'
        'list = [{secret = "kanarie"}]\npassword_file = "shown"\n'
    )
    load(tmp_path, text)
    for arguments in (["--json"], []):
        main(["config", "check", "--config", str(tmp_path / "server.toml"), *arguments])
        captured = capsys.readouterr()
        assert "kanarie" not in captured.out + captured.err
        assert "filters.http-put.password" in captured.out
        assert "the settings are no place for one" in captured.out
        assert "3128" in captured.out


def test_config_check_shows_tables_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(tmp_path, FILES + 'account = "scan"\n')
    main(["config", "check", "--config", str(tmp_path / "server.toml"), "--json"])
    shown = json.loads(capsys.readouterr().out)["settings"]
    entry = shown['laboratory.servers."files.example.com".port']
    assert entry == {"value": 445, "unit": "number", "origin": "default"}


def test_a_reload_takes_a_changed_free_table_over(tmp_path: Path) -> None:
    loaded = load(tmp_path, "[filters.http-put]\nretries = 3\n[filters.old]\na = 1\n")
    source = SettingsFile(loaded, {}, lambda level: None)
    load(tmp_path, "[filters.http-put]\nretries = 4\n[filters.new]\na = 1\n")
    new = source()
    assert new.applied == ("filters.http-put", "filters.new", "filters.old")
    new.commit()
    assert source().applied == ()


def test_a_reload_of_the_same_tables_changes_nothing(tmp_path: Path) -> None:
    loaded = load(tmp_path, FILES + 'account = "scan"\nkeytab = "k"\n')
    new = SettingsFile(loaded, {}, lambda level: None)()
    assert (new.applied, new.waiting) == ((), ())

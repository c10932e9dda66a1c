"""Settings: file, environment, origins, and errors that say what to write instead."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.cli.settings import load_settings
from postscan.cli.settings_base import Section
from postscan.cli.settings_model import SECTIONS, domain_of, parse_listen
from postscan.cli.settings_tables import entry_model
from postscan.cli.settings_text import server_toml
from postscan.cli.toml_text import toml_value
from postscan.core.errors import ConfigurationError
from postscan.jobs.settings import JobSettings

MINIMAL = '[server]\nfqdn = "scan.example.com"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "server.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str, env: dict[str, str] | None = None) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(folder, text), env or {})
    return caught.value


def test_a_file_with_only_the_name_gets_every_default(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, MINIMAL), {})
    assert loaded.settings.server.listen_address == ("0.0.0.0", 5362)
    assert loaded.settings.limits.max_envelope_bytes == 262_144
    assert loaded.origins["server.fqdn"] == "file"
    assert loaded.origins["limits.max_envelope_bytes"] == "default"


def _all_models() -> dict[str, type[Section]]:
    """Return every section, and every kind of table in them."""
    found = dict(SECTIONS)
    for section, model in SECTIONS.items():
        for key, field in model.model_fields.items():
            entry = entry_model(field)
            if entry is not None:
                found[f"{section}.{key}.NAME"] = entry
    return found


def test_every_setting_has_a_description() -> None:
    for section, model in _all_models().items():
        assert model.__doc__
        for key, field in model.model_fields.items():
            assert field.description, f"{section}.{key}"


def test_numbers_that_count_something_have_a_unit() -> None:
    for section, model in _all_models().items():
        for key, field in model.model_fields.items():
            if field.annotation is int and key != "port":
                extra = field.json_schema_extra
                assert isinstance(extra, dict), f"{section}.{key}"
                assert extra["unit"], f"{section}.{key}"


def test_relative_paths_belong_to_the_folder_of_the_file(tmp_path: Path) -> None:
    text = MINIMAL + "[fileshare]\nroots = ['out', '/mnt/x']\n[fileshare.unc_map]\n'\\\\a\\b' = 'share'\n"
    settings = load_settings(write(tmp_path, text), {}).settings
    assert settings.server.data == tmp_path / "data"
    assert settings.tls.key == tmp_path / "pki" / "server.key"
    assert settings.fileshare.roots == [tmp_path / "out", Path("/mnt/x")]
    assert settings.fileshare.unc_map == {r"\\a\b": tmp_path / "share"}


def test_the_environment_overrides_the_file_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "[limits]\nmax_open_jobs = 3\n")
    loaded = load_settings(path, {"POSTSCAN_LIMITS__MAX_OPEN_JOBS": "9"})
    assert loaded.settings.limits.max_open_jobs == 9
    assert loaded.origins["limits.max_open_jobs"] == "environment POSTSCAN_LIMITS__MAX_OPEN_JOBS"


def test_a_list_from_the_environment_replaces_the_list_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + '[devices]\nallow = ["10.1.0.0/16"]\n')
    loaded = load_settings(path, {"POSTSCAN_DEVICES__ALLOW": '["192.0.2.7"]'})
    assert loaded.settings.devices.allow == ["192.0.2.7/32"]


def test_variables_that_a_container_platform_sets_are_none_of_ours(tmp_path: Path) -> None:
    env = {"POSTSCAN_PORT": "tcp://10.0.0.1:5362", "POSTSCAN_DEBUG": "1", "PATH": "/bin"}
    assert load_settings(write(tmp_path, MINIMAL), env).settings.server.fqdn == "scan.example.com"


@pytest.mark.parametrize(
    ("text", "message", "advice"),
    [
        (MINIMAL + "[limits]\nmax_open_job = 1\n", "no key max_open_job in [limits]", "max_open_jobs"),
        (MINIMAL + "[limitz]\nmax_open_jobs = 1\n", "no section [limitz]", "limits"),
        (MINIMAL + "[limits]\nlisten = 'x'\n", "no key listen in [limits]", "belongs under [server]"),
        (
            MINIMAL + "[limits]\nmax_open_jobs = 'many'\n",
            'limits.max_open_jobs = "many"',
            "Such as 500 (jobs)",
        ),
        (
            MINIMAL + "[limits]\nmax_open_jobs = 0\n",
            "greater than or equal to 1",
            "max_open_jobs in [limits]",
        ),
        (MINIMAL + "listen = '5362'\n", "is not HOST:PORT", "0.0.0.0:5362"),
        (MINIMAL + "[devices]\nallow = ['printer']\n", "neither an address", "[devices]"),
        (MINIMAL + "[fileshare]\ntime_zone = 'Mars'\n", "is no time zone", "Europe/Berlin"),
        (MINIMAL + "[fileshare]\nfolder_mode = '9'\n", "is no permission mode", "0750"),
        (MINIMAL + "[fileshare.unc_map]\n'//a/b' = 'x'\n", "is no UNC root", "unc_map"),
        ("[server]\nfqdn = 'not a name'\n", "is no host name", "fqdn in [server]"),
        ("", "server.fqdn is missing", "write fqdn"),
        ("fqdn = 'a'\n", "outside of any section", "[server]"),
        ("server = 1\n", "server is a section", "[server]"),
        ("[server\n", "not valid TOML", "server.toml"),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_write(
    tmp_path: Path, text: str, message: str, advice: str
) -> None:
    error = refusal(tmp_path, text)
    assert message in str(error)
    assert str(tmp_path / "server.toml") in str(error)
    assert advice in str(error) + error.what_to_do
    assert error.exit_code == 3


@pytest.mark.parametrize(
    ("variable", "value", "advice"),
    [
        ("POSTSCAN_LIMIT__MAX_OPEN_JOBS", "1", "limits"),
        ("POSTSCAN_LIMITS__MAX_OPEN_JOB", "1", "max_open_jobs"),
        ("POSTSCAN_LIMITS__MAX_OPEN_JOBS", "many", "500"),
        ("POSTSCAN_DEVICES__ALLOW", "10.0.0.0/8", "lists like"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, advice: str) -> None:
    error = refusal(tmp_path, MINIMAL, {variable: value})
    assert variable in str(error)
    assert advice in error.what_to_do


def test_all_wrong_settings_are_told_at_once(tmp_path: Path) -> None:
    error = refusal(tmp_path, MINIMAL + "mode = 'x'\n[limits]\nmax_open_jobs = -1\n")
    assert str(error).startswith("2 settings are wrong")
    assert "server.mode" in str(error)
    assert "limits.max_open_jobs" in str(error)


def test_a_missing_file_leads_to_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path / "none.toml", {})
    assert "postscan init" in caught.value.what_to_do


def test_the_written_file_names_every_key_and_reads_back(tmp_path: Path) -> None:
    given_values = {
        "server": {"fqdn": "scan.example.com", "listen": "127.0.0.1:0"},
        "fileshare": {"roots": ["delivered"], "unc_map": {r"\\files\scans": "mirror"}},
    }
    text = server_toml(given_values)
    assert tomllib.loads(text)["fileshare"]["unc_map"] == {r"\\files\scans": "mirror"}
    for model in SECTIONS.values():
        for key in model.model_fields:
            assert f"{key} = " in text or f".{key}]" in text or f".{key}." in text
    settings = load_settings(write(tmp_path, text), {}).settings
    assert settings.server.listen == "127.0.0.1:0"


def test_the_defaults_shown_in_the_written_file_are_the_defaults(tmp_path: Path) -> None:
    text = server_toml({"server": {"fqdn": "scan.example.com"}})
    key = re.compile(r"# ([a-z0-9_]+ = )(?!value)")
    uncommented = [key.sub(r"\1", line) for line in text.splitlines()]
    shown = load_settings(write(tmp_path, "\n".join(uncommented)), {})
    tables = {f"{name}.{key}" for name, model in SECTIONS.items() for key in _tables_of_tables(model)}
    assert {key for key, origin in shown.origins.items() if origin != "file"} == tables
    assert shown.settings == load_settings(write(tmp_path, MINIMAL), {}).settings


def _tables_of_tables(model: type[Section]) -> list[str]:
    return [key for key, field in model.model_fields.items() if entry_model(field) is not None]


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_survives_being_written_as_toml(text: str) -> None:
    assert tomllib.loads(f"x = {toml_value(text)}")["x"] == text


@pytest.mark.parametrize(
    ("text", "address"),
    [("0.0.0.0:5362", ("0.0.0.0", 5362)), ("[::]:1", ("::", 1)), ("Scan.Example:80", ("scan.example", 80))],
)
def test_listen_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text", ["", "5362", ":5362", "host:", "host:x", "host:65536", "::1:5362", "[x]:1", "a b:1"]
)
def test_what_is_not_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_listen(text)


@pytest.mark.parametrize(
    ("fqdn", "domain"),
    [("scan.example.com", "example.com"), ("localhost", "localhost"), ("192.0.2.1", "local")],
)
def test_the_users_domain_follows_from_the_servers_name(fqdn: str, domain: str) -> None:
    assert domain_of(fqdn) == domain


def test_the_defaults_are_those_of_the_job_engine(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, MINIMAL), {}).settings
    engine = JobSettings()
    limits, retry, retention = settings.limits, settings.retry, settings.retention
    for name in (
        "max_open_jobs",
        "max_open_jobs_per_owner",
        "max_images_per_job",
        "max_image_bytes",
        "max_job_bytes",
        "min_free_bytes",
        "parallel_deliveries",
        "parallel_per_destination",
    ):
        assert getattr(limits, name) == getattr(engine, name), name
    assert timedelta(minutes=limits.idle_minutes) == engine.idle_limit
    assert timedelta(seconds=retry.first_seconds) == engine.retry.first
    assert timedelta(seconds=retry.cap_seconds) == engine.retry.cap
    assert timedelta(days=retry.give_up_days) == engine.retry.give_up
    assert timedelta(hours=retention.delivered_hours) == engine.retain_delivered
    assert timedelta(hours=retention.canceled_hours) == engine.retain_canceled
    assert timedelta(days=retention.undelivered_days) == engine.retain_undelivered
    assert retention.history_days == engine.history_days
    assert retention.history_jobs == engine.history_jobs

"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from support.domain import domain, domain_controller, domain_shared

# Fixtures for tests everywhere: a running Active Directory.
__all__ = ["domain", "domain_controller", "domain_shared"]

# The machine that runs the tests may be busy: no test may fail because of a deadline.
slow_is_fine = [HealthCheck.too_slow]
settings.register_profile("default", deadline=None, max_examples=100, suppress_health_check=slow_is_fine)
settings.register_profile("thorough", deadline=None, max_examples=5_000, suppress_health_check=slow_is_fine)
# What lands is judged by the same examples each time; new ones are found where somebody can look at them.
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# What shells and CI systems set, and what the program or its libraries act upon.
_OUTSIDE = ("CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "NOTIFY_SOCKET")
_OUTSIDE += ("TTY_COMPATIBLE", "TTY_INTERACTIVE")


@pytest.fixture(scope="session", autouse=True)
def _environment_of_its_own() -> Iterator[None]:
    """Let no setting or terminal of whoever runs the tests change what they see."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in list(os.environ):
            if name in _OUTSIDE or (name.startswith("POSTSCAN_") and not name.startswith("POSTSCAN_KILLS")):
                monkeypatch.delenv(name)
        monkeypatch.setenv("TERM", "xterm")
        yield


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a test, or a command it ran, did to the process's logging."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests recorded."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    figures = [str(value) for r in reports for name, value in r.user_properties if name == "figures"]
    for line in dict.fromkeys(figures):
        terminalreporter.write_line(line)

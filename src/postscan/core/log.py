"""Structured logs: one JSON object a line, bounded fields; no peer can forge a line (abuse case 43)."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import structlog

MAX_FIELD = 256
MAX_TRACE = 8_192


def _bound_fields(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key == "exception" and isinstance(value, str):
            # Many lines, and whatever a peer may have brought into an error's text.
            event[key] = "".join(c if c.isprintable() or c in "\n\t" else "�" for c in value[-MAX_TRACE:])
        elif isinstance(value, str):
            cleaned = "".join(c if c.isprintable() else "�" for c in value)
            event[key] = cleaned if len(cleaned) <= MAX_FIELD else cleaned[: MAX_FIELD - 1] + "…"
    return event


def configure_logging(*, level: str = "INFO", as_json: bool = True, stream: TextIO | None = None) -> None:
    """Set up the process's logging once: JSON lines for services, coloured text for people.

    :param level: a standard level name.
    :param as_json: JSON lines when true, human text otherwise.
    :param stream: where lines go; standard error when None.
    """
    renderer: structlog.typing.Processor
    if as_json:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=True)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=(stream or sys.stderr).isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _bound_fields,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(room: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of one room."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(room=room)
    return logger


def new_correlation_id() -> str:
    """Return a fresh id (32 hex digits) that ties a request's log lines to the fault its sender saw."""
    return f"{random.getrandbits(128):032x}"


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Add ``fields`` to every line logged inside the block."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield

"""What is fuzzed, and what must hold for any input: no crash, no hang, no answer larger than allowed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from postscan.contracts import schemas
from postscan.core.errors import PostscanError
from postscan.soap.envelope import LARGEST_ENVELOPE
from postscan.soap.faults import fault_of, write_fault
from postscan.soap.names import DSP
from postscan.soap.xml import parse

MAX_INPUT: Final = 16_384
"""Octets of one input."""
MOST_SECONDS: Final = 5.0
"""Time of the processor that one input may take, wherever it runs; ordinary ones take a thousandth."""

Run = Callable[[bytes], None]
Mutate = Callable[[bytes, Random], bytes]


class Violation(AssertionError):
    """Something that must hold for any input did not."""


@dataclass(frozen=True, slots=True)
class Target:
    """One reader.

    ``run`` reads an input and may raise nothing but PostscanError, and Violation for what it found out
    itself; ``seeds`` returns good inputs, and ``mutate`` makes an odd one of a good one. ``words`` are octets
    that mean something to the reader.
    """

    name: str
    run: Run
    seeds: Callable[[], list[bytes]]
    mutate: Mutate
    words: tuple[bytes, ...] = field(default=())


def must(holds: bool, what: str) -> None:
    """Raise Violation unless something holds."""
    if not holds:
        raise Violation(what)


def check(target: Target, data: bytes, *, most_seconds: float | None = None) -> None:
    """Read one input and check what must hold; raises whatever the reader must not raise.

    :param most_seconds: the time of the processor it may take, if that is to be watched.
    """
    began = time.thread_time()
    try:
        target.run(data)
    except PostscanError as error:
        _check_fault(error)
    spent = time.thread_time() - began
    if most_seconds is not None:
        must(spent <= most_seconds, f"{len(data)} octets took {spent:.1f} s of the processor")


def _check_fault(error: PostscanError) -> None:
    """Check that the refusal can be told to the sender: as a valid fault that WSDAPI reads."""
    must(bool(str(error)), "a refusal without words")
    fault = write_fault(fault_of(error, DSP), None, correlation_id="0123456789abcdef")
    must(len(fault) <= LARGEST_ENVELOPE, f"a fault of {len(fault)} octets")
    schemas.validate(parse(fault))

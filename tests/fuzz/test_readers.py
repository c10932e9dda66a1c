"""What `make fuzz` looks for, within bounds: any octets, and good messages made odd, at every reader."""

from __future__ import annotations

from functools import cache
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.target import MAX_INPUT, Target, check
from fuzz.targets import TARGETS

every_reader = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


@cache
def seeds_of(name: str) -> list[bytes]:
    return TARGETS[name].seeds()


@every_reader
def test_a_good_message_is_read_as_it_should_be(target: Target) -> None:
    for seed in seeds_of(target.name):
        assert len(seed) <= MAX_INPUT
        check(target, seed)


@every_reader
@given(data=st.binary(max_size=1_000))
def test_any_octets_are_read_or_refused(target: Target, data: bytes) -> None:
    check(target, data)


@every_reader
@given(data=st.data(), chances=st.randoms(use_true_random=False))
def test_a_good_message_made_odd_is_read_or_refused(
    target: Target, data: st.DataObject, chances: Random
) -> None:
    message = data.draw(st.sampled_from(seeds_of(target.name)))
    for _ in range(data.draw(st.integers(1, 3))):
        message = target.mutate(message, chances)
    check(target, message)

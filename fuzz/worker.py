"""Fuzzes one target until its time is up: ``python -m fuzz.worker TARGET [options of libFuzzer]``."""

from __future__ import annotations

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["postscan"]):
    from fuzz.targets import TARGETS

from fuzz.target import MOST_SECONDS, check


def main() -> None:
    """Hand inputs to the target until libFuzzer ends the process."""
    target = TARGETS[sys.argv.pop(1)]

    def one_input(data: bytes) -> None:
        check(target, data, most_seconds=MOST_SECONDS)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.randrange(2):
            return bytes(atheris.Mutate(data, max_size))
        return target.mutate(data, random)[:max_size]

    atheris.Setup(sys.argv, one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Reads one input again: ``python -m fuzz.repeat TARGET HEX`` (no fuzzer is needed for that)."""

from __future__ import annotations

import argparse

from fuzz.target import MOST_SECONDS, check
from fuzz.targets import TARGETS


def main() -> None:
    """Read the input that the command line gives in hexadecimal digits; ends with the error it causes."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.repeat", description="Read one input again.")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("input", help="its octets as hexadecimal digits")
    known = parser.parse_args()
    data = bytes.fromhex(known.input)
    check(TARGETS[known.target], data, most_seconds=MOST_SECONDS)
    print(f"{known.target}: {len(data)} octets are read as they should be")


if __name__ == "__main__":
    main()

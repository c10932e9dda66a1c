"""`python -m bench`: run every benchmark, or the ones named, within a time budget."""

from __future__ import annotations

import argparse
import sys

from bench import delivery, directory, events, ingest
from bench.toolbox import BenchError

BENCHMARKS = {
    "ingest": ingest.main,
    "events": events.main,
    "directory": directory.main,
    "delivery": delivery.main,
}


def main() -> int:
    """Run what the command line asks for; return 0, or 1 when a benchmark could not run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Run the benchmarks; options after a name go to that benchmark."
    )
    parser.add_argument("name", nargs="?", choices=sorted(BENCHMARKS), help="only this one")
    parser.add_argument("--quick", action="store_true", help="one short round of each: a look, no figures")
    known, rest = parser.parse_known_args()
    if rest and known.name is None:
        parser.error(f"{' '.join(rest)}: options of a benchmark come after its name")
    arguments = [*(["--quick"] if known.quick else []), *rest]
    try:
        for name, run in BENCHMARKS.items():
            if known.name in (None, name):
                run(arguments)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m fuzz``: fuzz every target, or the ones named, each for ``FUZZ_SECONDS`` seconds (30).

What is found is printed as hexadecimal digits, with the command that reads it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fuzz.target import MAX_INPUT, Target
from fuzz.targets import TARGETS

_SECONDS: Final = 30
# libFuzzer's own limits, behind those of fuzz.target: wall time and memory of one input.
_INPUT_SECONDS: Final = 60
_INPUT_MEBIBYTES: Final = 2_048
_GRACE_SECONDS: Final = 300
_FOUND: Final = ("crash-", "timeout-", "oom-", "leak-", "slow-unit-")
_EXECUTED: Final = re.compile(r"number_of_executed_units: (\d+)")
_COVERED: Final = re.compile(r"\bcov: (\d+)")
_TOLD_LINES: Final = 40
_NOISE: Final = ("INFO: ", "WARNING: ", "stat::", "#", "0x")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target: whether it held, how many inputs it read, and what to tell."""

    name: str
    held: bool
    inputs: int
    covered: int
    told: str = ""


def fuzz(target: Target, seconds: int) -> Outcome:
    """Fuzz a target in a process of its own."""
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{target.name}-") as name:
        folder = Path(name)
        corpus, words = folder / "corpus", folder / "words"
        corpus.mkdir()
        for number, seed in enumerate(target.seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        command = [
            *(sys.executable, "-m", "fuzz.worker", target.name, str(corpus)),
            f"-artifact_prefix={folder}/",
            f"-dict={words}",
            f"-max_len={MAX_INPUT}",
            f"-max_total_time={seconds}",
            f"-timeout={_INPUT_SECONDS}",
            f"-report_slow_units={_INPUT_SECONDS}",
            f"-rss_limit_mb={_INPUT_MEBIBYTES}",
            "-print_final_stats=1",
        ]
        try:
            ran = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds + _GRACE_SECONDS,
                check=False,
                text=True,
                errors="replace",
            )
            said, ended = ran.stdout, ran.returncode
        except subprocess.TimeoutExpired as error:
            output = error.stdout or ""
            said = output if isinstance(output, str) else output.decode(errors="replace")
            ended = 1
        found = sorted(p for p in folder.iterdir() if p.name.startswith(_FOUND))
        told = "\n".join(_repeat(target, p.read_bytes()) for p in found)
        if ended and not found:
            told = f"ended with {ended} and left no input"
        if told:
            lines = [line for line in said.splitlines() if not line.startswith(_NOISE)]
            told = "\n".join((*lines[-_TOLD_LINES:], told))
        return Outcome(target.name, not told, _last(_EXECUTED, said), _last(_COVERED, said), told)


def _repeat(target: Target, data: bytes) -> str:
    return (
        f"{len(data)} octets do it. To read them again:\n  python -m fuzz.repeat {target.name} {data.hex()}"
    )


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word)


def _last(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.findall(text)
    return int(found[-1]) if found else 0


def main() -> int:
    """Run what the command line asks for; return 0, or 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz what reads strangers' octets.")
    parser.add_argument("target", nargs="*", help=f"only these: {', '.join(TARGETS)}")
    parser.add_argument(
        "--seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS") or _SECONDS), help="a target"
    )
    known = parser.parse_args()
    unknown = sorted(set(known.target) - set(TARGETS))
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: atheris is not installed; it has packages for Linux on x86-64.", file=sys.stderr)
        return 1
    chosen = [TARGETS[name] for name in known.target or TARGETS]
    print(f"{len(chosen)} targets, {known.seconds} s each", flush=True)
    held = True
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for outcome in pool.map(lambda target: fuzz(target, known.seconds), chosen):
            held = held and outcome.held
            word = "held" if outcome.held else "FAILED"
            print(
                f"{outcome.name:12}{word:8}{outcome.inputs:>10} inputs{outcome.covered:>8} branches",
                flush=True,
            )
            if outcome.told:
                print(outcome.told, flush=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

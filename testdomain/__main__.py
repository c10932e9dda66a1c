"""`python -m testdomain`: bring up an Active Directory to try things with, take it down, or see the demo."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from testdomain import by_hand
from testdomain.errors import TestDomainError


def main() -> int:
    """Do what the command line asks for; return its exit status."""
    arguments = _parser().parse_args()
    _become_root()
    # Being told to stop is no reason to leave a controller and folders behind.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        if arguments.command == "up":
            by_hand.up(arguments.folder)
        elif arguments.command == "down":
            by_hand.down(arguments.folder, remove=arguments.remove)
        elif arguments.command == "run":
            return by_hand.run(arguments.folder, arguments.program)
        elif arguments.command == "demo":
            from testdomain.demo import demo

            return 0 if demo() else 6
    except TestDomainError as error:
        print(f"testdomain: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testdomain", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the domain in DIR, which is made when there is none")
    up.add_argument("folder", type=Path, metavar="DIR")
    down = commands.add_parser("down", help="end the domain in DIR, and all that runs beside it")
    down.add_argument("folder", type=Path, metavar="DIR")
    down.add_argument("--remove", action="store_true", help="remove DIR as well")
    run = commands.add_parser("run", help="run a program beside the domain in DIR")
    run.add_argument("folder", type=Path, metavar="DIR")
    run.add_argument("program", nargs=argparse.REMAINDER, metavar="PROGRAM ...")
    commands.add_parser("demo", help="see the whole system at work over a domain made for it")
    return parser


def _become_root() -> None:
    """Start again as root where sudo asks for no password; namespaces and Samba's ports need root."""
    if os.geteuid() == 0:
        return
    try:
        may = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    except OSError:  # there is none
        may = False
    if may:
        os.execvp("sudo", ["sudo", "-n", sys.executable, "-m", "testdomain", *sys.argv[1:]])  # noqa: S606 - fixed


if __name__ == "__main__":
    sys.exit(main())

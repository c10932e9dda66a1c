"""`python -m testservers`: see scans delivered to real servers."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys


def main() -> int:
    """Do what the command line asks for; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m testservers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="deliver to a Samba, a Postfix and an Apache made for it")
    parser.parse_args()
    _become_root()
    # Being told to stop is no reason to leave servers and folders behind.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    from testservers.demo import DemoFailed, demo
    from testservers.fileserver import FileServerError
    from testservers.mailserver import MailServerError
    from testservers.webserver import WebServerError

    try:
        return 0 if demo() else 6
    except (DemoFailed, FileServerError, MailServerError, WebServerError) as error:
        print(f"demo-delivery: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _become_root() -> None:
    """Start again as root where sudo asks for no password; the servers need root."""
    if os.geteuid() == 0:
        return
    try:
        may = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    except OSError:  # there is none
        may = False
    if may:
        os.execvp("sudo", ["sudo", "-n", sys.executable, "-m", "testservers", *sys.argv[1:]])  # noqa: S606 - fixed


if __name__ == "__main__":
    sys.exit(main())

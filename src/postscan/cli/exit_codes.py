"""What a command's exit status tells a script; `postscan --help` prints this table."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit statuses of every `postscan` command; ``PostscanError.exit_code`` uses the same numbers."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIGURATION = 3
    REFUSED = 4
    UNREACHABLE = 5
    JOB_NOT_COMPLETED = 6
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "all is well",
    ExitCode.FAILURE: "an unexpected failure",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.CONFIGURATION: "settings, keys, certificates or folders are wrong",
    ExitCode.REFUSED: "refused by the server, or what was given is not valid",
    ExitCode.UNREACHABLE: "a server or directory cannot be reached",
    ExitCode.JOB_NOT_COMPLETED: "not everything was delivered, or a dry run shows that it would not be",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitCode.OUTPUT_CLOSED: "whoever read the output went away",
}

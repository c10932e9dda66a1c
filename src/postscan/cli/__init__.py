"""The command line: one module a command group; settings are read here and handed down."""

from __future__ import annotations

import os
import select
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from postscan.cli.exit_codes import ExitCode
from postscan.cli.manual import ManualGroup
from postscan.cli.output import print_error
from postscan.core.errors import PostscanError

app = typer.Typer(cls=ManualGroup, add_completion=False, rich_markup_mode=None, no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"postscan {version('postscan')}")
        raise typer.Exit


@app.callback()
def postscan(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="POSTSCAN_DEBUG", help="Show where in the code an error arose.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Scan to where the pages belong: an open server for Distributed Scan Management.

    Walk up to a scanner, pick a scan process, press one button. The device creates a PostScan job on the
    scan server over WS-DSP (SOAP over HTTPS, images by MTOM); the server keeps every page it acknowledged,
    runs the scan process's filters, and tells the device how each ended.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status (see :class:`ExitCode`).

    Errors become two lines on standard error, what is wrong and what to do; tracebacks only with --debug.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = typer.main.get_command(app)
    debug = False
    try:
        # Not command.main(): that takes any broken pipe, even of a network connection, for a closed output.
        with command.make_context("postscan", words) as context:
            debug = bool(context.params.get("debug"))
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as ended:
        return _after_flush(ended.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print_error("interrupted")
        return ExitCode.INTERRUPTED
    except typer.TyperException as error:
        return _report_usage(error)
    except PostscanError as error:
        if debug:
            traceback.print_exc()
        print_error(str(error), error.what_to_do)
        return error.exit_code
    except BrokenPipeError as error:
        return _report_unexpected(error, debug=debug) if not _output_is_closed() else _leave_quietly()
    except Exception as error:
        return _report_unexpected(error, debug=debug)
    return ExitCode.OK


def _after_flush(exit_code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _leave_quietly()
    return exit_code


def _output_is_closed() -> bool:
    """Tell whether the reader of standard output is gone, rather than some other peer."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
    except (OSError, ValueError):
        # No file behind it (a stream in memory): it cannot have lost its reader.
        return False


def _leave_quietly() -> int:
    # The interpreter flushes standard output once more on its way out, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OUTPUT_CLOSED


def _report_usage(error: typer.TyperException) -> int:
    context: typer.Context | None = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        typer.echo(context.get_help(), err=True)
        return ExitCode.USAGE
    path = context.command_path if context is not None else "postscan"
    print_error(error.format_message(), f"see `{path} --help`")
    return error.exit_code


def _report_unexpected(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        print_error(f"{error.strerror}{where}", "check that the file or address is there and may be used")
    else:
        print_error(
            f"unexpected failure ({type(error).__name__}: {error})",
            "run the same command with `postscan --debug ...` and report what it prints",
        )
    return ExitCode.FAILURE


__all__ = ["app", "main"]

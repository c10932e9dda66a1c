"""`postscan scan`: a DSM device in one command."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from postscan.cli.connection import PORT, Keys, address_of, checked_address
from postscan.cli.exit_codes import ExitCode
from postscan.cli.options import DEFAULT_CONFIG, JsonOption, OptionalConfigOption
from postscan.cli.output import Output, print_error, progress, quiet_logs
from postscan.cli.scan_output import TerminalWatcher, counted, print_outcome
from postscan.cli.server_search import AUTO, find_server

if TYPE_CHECKING:
    from ssl import SSLContext

    from postscan.cli.scan_identity import Asked, DirectorySource, WalkUp
    from postscan.cli.settings import LoadedSettings
    from postscan.contracts.keywords import DocumentFormat
    from postscan.core.secret import Secret
    from postscan.device.imaging.scanned import ScannedImage
    from postscan.device.session import Outcome, ScanSession
    from postscan.device.ticket import PageWishes
    from postscan.directory.model import StoredProcess

app = typer.Typer(rich_markup_mode=None)


def _checked_server(text: str | None) -> str | None:
    return text if text is None or text == AUTO else checked_address(text)


def _checked_format(name: str | None) -> str | None:
    from postscan.contracts.keywords import DocumentFormat

    if name is not None and name not in set(DocumentFormat):
        raise typer.BadParameter(f"{name!r} is no format; use one of {', '.join(DocumentFormat)}")
    return name


def _checked_color(name: str | None) -> str | None:
    from postscan.device.imaging.request import ColorMode

    known = {str(mode).casefold(): str(mode) for mode in ColorMode}
    if name is not None and name.casefold() not in known:
        raise typer.BadParameter(f"{name!r} is no color mode; use one of {', '.join(ColorMode)}")
    return name and known[name.casefold()]


@app.command()
def scan(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            exists=True,
            dir_okay=False,
            help="Pages: JPEG, PNG, TIFF (any), PDF, BMP, JPEG 2000, in the order to send them.",
        ),
    ],
    process: Annotated[
        str, typer.Option("--process", "-p", metavar="NAME", help="The scan process, by name or identifier.")
    ],
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            "-u",
            metavar="NAME",
            help="Who scans: logon name or UPN. Without it, whose certificate --cert is.",
        ),
    ] = None,
    ask_password: Annotated[
        bool,
        typer.Option("--ask-password", help="Sign in to the Active Directory; asks, without showing it."),
    ] = False,
    password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The same, with the password in a file that is yours (0600)."),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            metavar="DOMAIN", help="Sign in to this domain, found by DNS, where there are no settings."
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            callback=_checked_server,
            help="The scan server, as https://FQDN:5362/ScanServer; without it, the one that the scan "
            "process names, on the port of --config or 5362. auto: search the network for it.",
        ),
    ] = None,
    config: OptionalConfigOption = None,
    directory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The directory with users.toml and processes/.")
    ] = None,
    pki: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where ca.pem and users/NAME.pem and .key are."),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The authority to trust, instead of PKI's ca.pem; with --domain that of its controllers,"
            " too (one file may hold several).",
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--cert", metavar="FILE", help="The user's certificate.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The certificate's private key.")
    ] = None,
    image_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            callback=_checked_format,
            help="Send as this: jfif, png, tiff-single-g4, tiff-multi-g4, pdf-a, ...",
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(min=0, max=100, help="Quality of pages converted to a lossy format; without it, 75."),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(metavar="DPI", min=10, max=9600, help="Resample to this resolution.")
    ] = None,
    color: Annotated[
        str | None,
        typer.Option(metavar="MODE", callback=_checked_color, help="BlackAndWhite1, Grayscale8 or RGB24."),
    ] = None,
    ticket: Annotated[
        bool,
        typer.Option(
            "--ticket", help="Make the pages as the scan ticket asks, where no option says otherwise."
        ),
    ] = False,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for the outcome; 0: not at all.")
    ] = 300,
    notify_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Listen for the server's events on this address.")
    ] = None,
    no_events: Annotated[
        bool, typer.Option("--no-events", help="Ask for the outcome instead of listening for it.")
    ] = False,
    cancel_after: Annotated[
        int | None, typer.Option(metavar="PAGES", min=1, help="Cancel the job after so many pages.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Scan files to a scan server, as a DSM device would, and print where each filter stands.

    Finds the server's services, subscribes to the job's events, creates a job from a scan process of the
    directory, sends the pages, ends the job and waits for the outcome. Where the server cannot send events
    to this machine, the outcome is asked for.

    Files are sent as they are, unless --format, --resolution or --color ask for something else, or --ticket
    asks for what the scan ticket of the process says. A setting that the ticket marks MustHonor is not open
    to the user: the pages are made exactly so, or the scan is refused.

    Ctrl-C (or SIGTERM) cancels the job while pages are being sent. Once it is ended the server has accepted
    it, and Ctrl-C only ends the waiting.

    Without --config or --directory, server.toml is taken from the current folder.

    With a password the user signs in to the Active Directory, which says who they are and which scan
    processes they may read. Where it publishes the server's certificate, no other is accepted.

    Exit status: 0 when everything was delivered (or, with --wait 0, accepted), 4 when the server refused, 5
    when it could not be reached, 6 when not everything was delivered, or not within --wait.
    """
    from postscan.cli.scan_identity import Asked, DirectorySource
    from postscan.contracts.keywords import JobState
    from postscan.device.ticket import PageWishes

    quiet_logs()
    if user is None and certificate is None:
        raise typer.BadParameter("say who scans: --user NAME, or --cert FILE")
    loaded = _settings(config, directory or domain)
    if loaded is not None:
        pki = pki or loaded.settings.tls.folder
    asked = Asked(process, user, _password(user, ask_password, password_file), certificate)
    if domain is not None and asked.password is None:
        raise typer.BadParameter("--domain goes with --ask-password or --password-file")
    output = Output(json)
    run = _Scan(
        output=output,
        files=files,
        asked=asked,
        source=DirectorySource(loaded, directory, domain, ca),
        keys=Keys(pki, ca, certificate, key),
        wishes=PageWishes(_format(image_format), quality, resolution, color),
        take_ticket=ticket,
        server=server,
        loaded=loaded,
        wait_seconds=wait or None,
        notify_address=notify_address,
        use_events=not no_events,
        cancel_after=cancel_after,
    )
    try:
        with _termination_as_interruption():
            outcome = run.run()
    except KeyboardInterrupt:
        if run.session is not None and run.session.accepted:
            output.line(f"job {run.session.token} was accepted: the server delivers it without us")
        raise
    print_outcome(output, outcome)
    canceled_as_asked = cancel_after is not None and outcome.state == JobState.CANCELED
    if wait and not outcome.delivered and not canceled_as_asked:
        raise typer.Exit(ExitCode.JOB_NOT_COMPLETED)


@contextmanager
def _termination_as_interruption() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: a job that nobody sends pages for any more is canceled."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _password(user: str | None, ask: bool, file: Path | None) -> Secret | None:
    """Return the password to sign in with, None when the user shows none."""
    from postscan.cli.secret_file import read_secret_file
    from postscan.cli.secrets import read_secret

    if ask and file is not None:
        raise typer.BadParameter("--ask-password and --password-file exclude each other")
    if (ask or file is not None) and user is None:
        raise typer.BadParameter("a password is somebody's: add --user NAME")
    if file is not None:
        return read_secret_file(file)
    return read_secret(f"password of {user}", twice=False) if ask else None


def _settings(config: Path | None, otherwise: object) -> LoadedSettings | None:
    from postscan.cli.settings import load_settings

    if config is None and otherwise is None and DEFAULT_CONFIG.exists():
        config = DEFAULT_CONFIG
    return load_settings(config, os.environ) if config is not None else None


def _format(name: str | None) -> DocumentFormat | None:
    from postscan.contracts.keywords import DocumentFormat

    return DocumentFormat(name) if name is not None else None


@dataclass
class _Scan:
    """One run of the command."""

    output: Output
    files: list[Path]
    asked: Asked
    source: DirectorySource
    keys: Keys
    wishes: PageWishes
    take_ticket: bool
    server: str | None
    loaded: LoadedSettings | None
    wait_seconds: float | None
    notify_address: str | None
    use_events: bool
    cancel_after: int | None
    session: ScanSession | None = field(default=None, init=False)

    def run(self) -> Outcome:
        """Scan.

        :raises PostscanError: a wrong name, a file that is no image, a refusal, a server out of reach.
        """
        from postscan.cli.scan_identity import walk_up
        from postscan.device.ticket import settle
        from postscan.device.transcode import prepare

        found = asyncio.run(walk_up(self.source, self.asked))
        user, process = found.user, found.process
        wishes = settle(process.process.scan_ticket, self.wishes, take_defaults=self.take_ticket)
        certificate, key = self.keys.pair_of(user.name)
        tls = self._trust(found, certificate, key)
        with progress(self.output) as bars:
            bar = bars.task("preparing the pages")
            # Outside of any event loop, so that Ctrl-C ends it at once.
            images = prepare(
                self.files,
                wishes.format,
                quality=75 if wishes.quality is None else wishes.quality,
                resolution=wishes.resolution,
                color=wishes.color,
            )
            address = self._server_for(process)
            self.output.line(
                f"{process.display_name}, for {user.upn}: {counted(len(images), 'image')},"
                f" {sum(image.size for image in images):,} bytes, to {address}"
            )
            if found.pin is not None:
                self.output.line("the directory publishes this server's certificate: no other is accepted")
            bar.set_total(len(images))
            watcher = TerminalWatcher(self.output, bar, len(images))
            if certificate is None and self.keys.pki is not None and self._wants_certificates():
                watcher.trouble(f"no certificate of {user.name} in {self.keys.pki / 'users'}: going without")
            return asyncio.run(self._send(address, tls, found, images, watcher))

    def _trust(self, found: WalkUp, certificate: Path | None, key: Path | None) -> SSLContext:
        """Trust the authority that was named, and those of the directory."""
        from cryptography.hazmat.primitives.serialization import Encoding

        from postscan.device.client import client_context

        authority = self.keys.authority
        if found.roots and self.keys.ca is None and authority is not None and not authority.exists():
            authority = None  # an installation whose authority is the domain's
        tls = client_context(authority, certificate, key, found.pin)
        for root in found.roots:
            tls.load_verify_locations(cadata=root.public_bytes(Encoding.DER))
        return tls

    async def _send(
        self,
        address: str,
        tls: SSLContext,
        found: WalkUp,
        images: list[ScannedImage],
        watcher: TerminalWatcher,
    ) -> Outcome:
        from postscan.device.client import ScanServerClient
        from postscan.device.session import ScanSession

        async with ScanServerClient(address, tls=tls, on_retry=watcher.again) as client:
            self.session = ScanSession(
                client, found.user, watcher, sink_address=self.notify_address, use_events=self.use_events
            )
            return await self.session.run(
                found.process,
                _one_by_one(images),
                wait_seconds=self.wait_seconds,
                cancel_after=self.cancel_after,
            )

    def _wants_certificates(self) -> bool:
        return self.loaded is None or self.loaded.settings.server.mode == "authenticated"

    def _server_for(self, process: StoredProcess) -> str:
        if self.server != AUTO:
            return self.server or self._address(process)
        wanted = process.process.scan_repository.strip()

        def trouble(what: str) -> None:
            print_error(what, warning=True)

        return asyncio.run(find_server(wanted, self.keys.authority, trouble))

    def _address(self, process: StoredProcess) -> str:
        """Return the address of the server that the scan process names."""
        name = process.process.scan_repository.strip()
        scheme, port = "https", PORT
        if self.loaded is not None and self.loaded.settings.server.fqdn.casefold() == name.casefold():
            scheme = "https" if self.loaded.settings.tls.enabled else "http"
            port = self.loaded.settings.server.listen_address[1]
        return address_of(name, port, scheme)


async def _one_by_one(images: list[ScannedImage]) -> AsyncIterator[ScannedImage]:
    for image in images:
        yield image

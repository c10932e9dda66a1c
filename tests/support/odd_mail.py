"""A mail server that answers as a test wants, and is strict about what it is sent."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from postscan.filters.email.settings import Security
from support.mail import Authority, MailSite, settings_of

MUTE = "mute"
"""Never answer."""
DROP = "drop"
"""End the connection instead of answering."""
_GOOD = {
    "GREETING": "220 odd.example.com ESMTP",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 Go on",
    "END": "250 2.0.0 Ok",
    "RSET": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
    "AUTH": "235 2.7.0 Ok",
    "STARTTLS": "220 2.0.0 Go on",
}


@dataclass
class OddMailServer:
    """Takes mail; ``answers`` are by verb, or by the beginning of a command, and lists are used up in turn.

    Besides the verbs there are ``GREETING``, ``END`` (of a message) and ``LINE`` (any line in a sign-in).

    :ivar commands: what was said, less messages.
    :ivar messages: what was taken, with doubled dots undone.
    :ivar breaches: what was against the rules: lines that end otherwise than by CR LF, or are too long.
    """

    answers: Mapping[str, str | list[str]] = field(default_factory=dict)
    extensions: Sequence[str] = ("SIZE 30000000", "SMTPUTF8", "AUTH PLAIN LOGIN XOAUTH2", "STARTTLS")
    tls: ssl.SSLContext | None = None
    commands: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    sessions: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._session, "127.0.0.1", 0, ssl=self.tls, limit=64 * 1024 * 1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for session in self.sessions:
            session.cancel()
        if self.sessions:
            await asyncio.wait(self.sessions)
        await self._server.wait_closed()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.sessions.add(task)
        try:
            await self._answer(writer, "GREETING", "GREETING")
            while line := await self._line(reader):
                await self._command(line, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # how a session ends is the test's affair
        finally:
            self.sessions.discard(task)
            if (transport := writer.transport) is not None:
                transport.abort()

    async def _command(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.commands.append(line)
        verb = line.partition(" ")[0].upper()
        if verb == "EHLO":
            lines = ["odd.example.com", *self.extensions]
            default = "".join(
                f"250{'-' if at < len(lines) - 1 else ' '}{x}\r\n" for at, x in enumerate(lines)
            )
            await self._answer(writer, line, verb, default.rstrip())
            return
        said = await self._answer(writer, line, verb)
        if verb == "DATA" and said.startswith("354"):
            await self._message(reader, writer)
        elif verb == "QUIT":
            raise ConnectionResetError
        while said.startswith("334"):
            self.commands.append(await self._line(reader))
            said = await self._answer(writer, "LINE", "LINE")

    async def _message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        octets = await reader.readuntil(b"\r\n.\r\n")
        octets = octets.removesuffix(b".\r\n")
        if re.search(rb"(?<!\r)\n|\r(?!\n)|\0", octets):
            self.breaches.append("a bare CR or LF, or a NUL")
        if max(map(len, octets.split(b"\r\n"))) > 998:
            self.breaches.append("a line of more than 998 octets")
        if re.search(rb"(?m)^\.(?!\.)", octets):
            self.breaches.append("a dot that is not doubled")
        said = await self._answer(writer, "END", "END")
        if said.startswith("250"):
            self.messages.append(re.sub(rb"(?m)^\.\.", b".", octets))

    async def _line(self, reader: asyncio.StreamReader) -> str:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return ""
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or len(line) > 12_288:
            self.breaches.append(f"a command that is not one line: {line[:40]!r}")
        return line.decode("utf-8", "replace").rstrip("\r\n")

    async def _answer(self, writer: asyncio.StreamWriter, line: str, verb: str, default: str = "") -> str:
        chosen = self._chosen(line) or default or _GOOD.get(verb, "500 5.5.2 What?")
        if chosen == MUTE:
            await asyncio.Event().wait()
        if chosen == DROP:
            raise ConnectionResetError
        writer.write(chosen.encode("utf-8", "surrogateescape") + b"\r\n")
        await writer.drain()
        return chosen

    def _chosen(self, line: str) -> str | None:
        for beginning, answer in self.answers.items():
            if line.upper().startswith(beginning.upper()):
                if isinstance(answer, str):
                    return answer
                return answer.pop(0) if answer else None
        return None


def odd_site(folder: Path, server: OddMailServer, **changes: Any) -> MailSite:
    """Return a job whose mail goes to the odd server, without TLS and account."""

    class Place:
        host = "127.0.0.1"
        port = server.port

    nobody = Authority(folder, folder, folder)
    values = {"security": Security.NONE, "account": "", "timeout_seconds": 20.0, "ca": None} | changes
    return MailSite(folder, settings_of(Place, nobody, **values))  # type: ignore[arg-type]  # host and port

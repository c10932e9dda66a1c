"""Speaking to the server that runs on this machine, over its local socket."""

from __future__ import annotations

import json as json_text
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from postscan.cli.exit_codes import ExitCode
from postscan.core.errors import PostscanError
from postscan.server.local_socket import SOCKET_NAME, socket_in

_TOKEN_LENGTH = 36


class ServerNotRunning(PostscanError):
    """Nobody answers at the server's local socket."""

    advice = "Start it with `postscan serve --config FILE`, or name the settings of the one that runs."
    exit_code = ExitCode.UNREACHABLE


class AdminRefused(PostscanError):
    """The server refused what an administrator asked."""

    exit_code = ExitCode.REFUSED


class AdminClient:
    """Speaks to a running server over the local socket in its data folder."""

    def __init__(self, data: Path) -> None:
        self._data = data

    async def ask(
        self, method: str, path: str, *, advice: str | None = None, seconds: float | None = 300.0
    ) -> Any:
        """Return the answer's JSON; ``advice`` is told in place of the server's when it refuses.

        :param seconds: how long to wait for the answer; None waits as long as the server works on it.
        :raises ServerNotRunning: nobody answers.
        :raises AdminRefused: the server says no.
        """
        import aiohttp

        named = self._data / SOCKET_NAME
        try:
            with socket_in(self._data) as socket:
                async with (
                    aiohttp.ClientSession(
                        connector=aiohttp.UnixConnector(str(socket)),
                        timeout=aiohttp.ClientTimeout(total=seconds),
                    ) as session,
                    session.request(method, f"http://localhost{path}") as answer,
                ):
                    content = json_text.loads(await answer.read())
                    status = answer.status
        except PermissionError as error:
            raise AdminRefused(
                f"{named} may not be opened", advice="Run this as the account the server runs as."
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ServerNotRunning(f"no server answers at {named}") from error
        if status == HTTPStatus.NOT_FOUND:
            raise AdminRefused(content["error"], advice="`postscan jobs list` shows the jobs there are.")
        if status >= HTTPStatus.BAD_REQUEST:
            raise AdminRefused(
                content["error"], advice=content.get("advice", "") if advice is None else advice
            )
        return content

    async def find(self, token: str) -> dict[str, Any]:
        """Return the one job whose token begins with ``token``."""
        begins = token.strip().strip("{}").lower()
        if len(begins) < _TOKEN_LENGTH:
            everything = await self.ask("GET", "/jobs?limit=10000") if begins else []
            found = [job["token"] for job in everything if job["token"].startswith(begins)]
            if not found:
                raise AdminRefused(
                    f"no job has a token that begins {token!r}",
                    advice="`postscan jobs list` shows the jobs there are.",
                )
            if len(found) > 1:
                some = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
                raise AdminRefused(
                    f"{len(found)} jobs have a token that begins {token!r}: {some}",
                    advice="Write more of the token.",
                )
            begins = found[0]
        job: dict[str, Any] = await self.ask("GET", f"/jobs/{quote(begins, safe='')}")
        return job

"""The administrator's local door: jobs as JSON over a socket only the server's account can open.

Whoever may open ``data/admin.sock`` (mode 0600) is an administrator of this server; over the network that is
WS-DSC's business.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from postscan.core.clock import Clock
from postscan.core.errors import InvalidArgument, PostscanError
from postscan.core.log import get_logger
from postscan.directory.model import Directory
from postscan.dpws.http.connection import Request
from postscan.dpws.http.messages import Response
from postscan.filters.contract import Filter
from postscan.jobs.engine import JobEngine
from postscan.jobs.errors import JobNotFound
from postscan.server.dry_run import MAX_PROBE_SECONDS, PROBE_SECONDS, dry_run, dry_run_facts
from postscan.server.job_facts import full_job_facts, job_facts
from postscan.server.reload import ReloadReport

_log = get_logger("admin")
MAX_LIST = 10_000


class AdminApp:
    """GET /jobs, GET /jobs/TOKEN, POST /jobs/TOKEN/cancel, POST /jobs/TOKEN/retry, POST /reload.

    POST /processes/NAME/test, where NAME may be the identifier, too, makes a dry run of a scan process.
    """

    def __init__(
        self,
        engine: JobEngine,
        reload: Callable[[], Awaitable[ReloadReport]],
        directory: Directory,
        filters: Mapping[str, Filter],
        clock: Clock,
    ) -> None:
        """Answer for a server; ``filters`` are those in force at any time."""
        self._engine = engine
        self._reload = reload
        self._directory = directory
        self._filters = filters
        self._clock = clock

    async def handle(self, request: Request) -> Response:
        """Answer one request; errors come as JSON with message and advice."""
        try:
            return _json(HTTPStatus.OK, await self._answer(request))
        except JobNotFound as error:
            return _error(HTTPStatus.NOT_FOUND, error)
        except PostscanError as error:
            return _error(HTTPStatus.CONFLICT, error)
        except Exception:
            _log.exception("admin request failed", path=request.head.path)
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, PostscanError("see the server's log"))

    async def _answer(self, request: Request) -> Any:
        parts = [p for p in request.head.path.split("/") if p]
        method = request.head.method
        if parts == ["jobs"] and method == "GET":
            return await self._list(request.head.target)
        if len(parts) == 2 and parts[0] == "jobs" and method == "GET":
            return await self._show(parts[1])
        if len(parts) == 3 and parts[0] == "jobs" and method == "POST":
            _log.info("administrator acts", action=parts[2], token=parts[1])
            if parts[2] == "cancel":
                return job_facts(await self._engine.cancel(parts[1], None))
            if parts[2] == "retry":
                return job_facts(await self._engine.retry(parts[1]))
        if len(parts) == 3 and (parts[0], parts[2], method) == ("processes", "test", "POST"):
            return await self._test(unquote(parts[1]), request.head.target)
        if parts == ["reload"] and method == "POST":
            report = await self._reload()
            return {"applied": list(report.applied), "waiting": list(report.waiting)}
        raise InvalidArgument(f"no such address: {method} {request.head.path}")

    async def _show(self, token: str) -> dict[str, Any]:
        engine = self._engine
        job = await engine.job(token, None)
        documents = await engine.documents(job.token, None)
        made = await engine.products(job.token, None)
        return full_job_facts(job, documents, made, engine.progress(job.token))

    async def _test(self, process: str, target: str) -> dict[str, Any]:
        query = parse_qs(urlsplit(target).query)
        try:
            seconds = float(query.get("seconds", [str(PROBE_SECONDS)])[0])
        except ValueError as error:
            raise InvalidArgument("seconds is no number") from error
        if not 0 < seconds <= MAX_PROBE_SECONDS:
            raise InvalidArgument(f"seconds is not between 0 and {MAX_PROBE_SECONDS:g}")
        user = query.get("user", [None])[0]
        _log.info("administrator acts", action="test", process=process)
        return dry_run_facts(
            await dry_run(self._directory, self._filters, self._clock, process, user, seconds=seconds)
        )

    async def _list(self, target: str) -> list[dict[str, Any]]:
        query = parse_qs(urlsplit(target).query)
        try:
            limit = min(MAX_LIST, max(1, int(query.get("limit", ["100"])[0])))
        except ValueError as error:
            raise InvalidArgument("limit is no number") from error
        active = {"true": True, "false": False}.get(query.get("active", [""])[0])
        return [job_facts(job) for job in await self._engine.jobs(active=active, limit=limit)]


def _json(status: HTTPStatus, value: Any) -> Response:
    return Response(status, json.dumps(value).encode(), "application/json")


def _error(status: HTTPStatus, error: PostscanError) -> Response:
    return _json(status, {"error": str(error), "advice": error.what_to_do})

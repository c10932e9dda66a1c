"""The administrator's local door: jobs as JSON over a socket only the server's account can open.

Whoever may open ``data/admin.sock`` (mode 0600) is an administrator of this server; over the network that is
WS-DSC's business.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from postscan.core.clock import xs_datetime
from postscan.core.errors import InvalidArgument, PostscanError
from postscan.core.log import get_logger
from postscan.dpws.http.connection import Request
from postscan.dpws.http.messages import Response
from postscan.jobs.engine import JobEngine
from postscan.jobs.errors import JobNotFound
from postscan.jobs.model import Document, Job
from postscan.server.reload import ReloadReport

_log = get_logger("admin")
MAX_LIST = 10_000


class AdminApp:
    """GET /jobs, GET /jobs/TOKEN, POST /jobs/TOKEN/cancel, POST /jobs/TOKEN/retry, POST /reload."""

    def __init__(self, engine: JobEngine, reload: Callable[[], Awaitable[ReloadReport]]) -> None:
        self._engine = engine
        self._reload = reload

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
            job = await self._engine.job(parts[1], None)
            return job_facts(job, await self._engine.documents(job.token, None))
        if len(parts) == 3 and parts[0] == "jobs" and method == "POST":
            _log.info("administrator acts", action=parts[2], token=parts[1])
            if parts[2] == "cancel":
                return job_facts(await self._engine.cancel(parts[1], None))
            if parts[2] == "retry":
                return job_facts(await self._engine.retry(parts[1]))
        if parts == ["reload"] and method == "POST":
            report = await self._reload()
            return {"applied": list(report.applied), "waiting": list(report.waiting)}
        raise InvalidArgument(f"no such address: {method} {request.head.path}")

    async def _list(self, target: str) -> list[dict[str, Any]]:
        query = parse_qs(urlsplit(target).query)
        try:
            limit = min(MAX_LIST, max(1, int(query.get("limit", ["100"])[0])))
        except ValueError as error:
            raise InvalidArgument("limit is no number") from error
        active = {"true": True, "false": False}.get(query.get("active", [""])[0])
        return [job_facts(job) for job in await self._engine.jobs(active=active, limit=limit)]


def job_facts(job: Job, documents: list[Document] | None = None) -> dict[str, Any]:
    """Return a job as JSON-ready values; times are ISO 8601 in UTC, sizes octets."""
    facts: dict[str, Any] = {
        "token": job.token,
        "state": str(job.state),
        "reasons": [str(r) for r in job.reasons],
        "process": {"identifier": str(job.process_id), "name": job.process_name},
        "user": {"sid": job.user.sid, "name": job.user.name, "upn": job.user.upn},
        "owner": job.owner,
        "origin": job.origin,
        "vouched_by": job.vouched_by,
        "correlation_id": job.correlation_id,
        "created": _time(job.created),
        "ended": _time(job.ended),
        "completed": _time(job.completed),
        "images": job.images_received,
        "bytes": job.bytes_received,
        "images_kept": job.images_kept,
        "filters": [
            {
                "dialect": run.dialect,
                "state": str(run.state),
                "reasons": [str(r) for r in run.reasons],
                "destinations": [
                    {
                        "label": d.label,
                        "state": str(d.state),
                        "attempts": d.attempts,
                        "next_attempt": _time(d.next_attempt),
                        "last_error": d.last_error,
                        "delivered": [
                            {"document": x.document_id, "name": x.name, "size": x.size} for x in d.delivered
                        ],
                    }
                    for d in run.deliveries
                ],
            }
            for run in job.filters
        ],
    }
    if documents is not None:
        facts["documents"] = [
            {
                "document": d.document_id,
                "format": str(d.format),
                "size": d.size,
                "sha256": d.sha256,
                "received": _time(d.received),
            }
            for d in documents
        ]
    return facts


def _time(moment: datetime | None) -> str | None:
    return xs_datetime(moment) if moment is not None else None


def _json(status: HTTPStatus, value: Any) -> Response:
    return Response(status, json.dumps(value).encode(), "application/json")


def _error(status: HTTPStatus, error: PostscanError) -> Response:
    return _json(status, {"error": str(error), "advice": error.what_to_do})

"""Metrics and health, on a local port of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from postscan import __version__
from postscan.core.log import get_logger
from postscan.dpws.http.connection import Request
from postscan.dpws.http.messages import Response
from postscan.jobs.engine import JobChange, JobEngine

_log = get_logger("observe")
# Labels come from a fixed set: what a peer sends must not make new time series.
_OPERATIONS: Final = frozenset(
    {
        "CreatePostScanJob", "SendImage", "EndPostScanJob", "CancelPostScanJob", "GetPostScanJobElements",
        "GetRepositoryElements", "GetActiveJobs", "GetJobHistory",
        "Probe", "Resolve", "Get", "Subscribe", "Renew", "GetStatus", "Unsubscribe", "unread",
    }
)  # fmt: skip
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """What the server counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "postscan_requests", "SOAP requests answered.", ["operation", "outcome"], registry=self.registry
        )
        self._seconds = Histogram(
            "postscan_request_seconds",
            "Time from a request's head to its answer.",
            ["operation"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._revocation = Counter(
            "postscan_revocation_checks",
            "Certificates of callers by whether they were revoked.",
            ["outcome"],
            registry=self.registry,
        )
        self._children: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._ended = Counter(
            "postscan_jobs_ended", "Jobs by the state they ended in.", ["state"], registry=self.registry
        )
        self._images = Counter("postscan_images_accepted", "Images accepted.", registry=self.registry)
        self._jobs = Gauge("postscan_jobs", "Jobs in the store, by state.", ["state"], registry=self.registry)
        self._spool_free = Gauge(
            "postscan_spool_free_bytes", "Free space where images are kept.", registry=self.registry
        )
        self._connections = Gauge("postscan_connections", "Open connections.", registry=self.registry)
        self._directory = Gauge(
            "postscan_directory_answers",
            "Whether the directory answered last time: 1 or 0.",
            registry=self.registry,
        )
        self._subscriptions = Gauge("postscan_subscriptions", "Live subscriptions.", registry=self.registry)
        Gauge("postscan_info", "The running version.", ["version"], registry=self.registry).labels(
            __version__
        ).set(1)

    def observe(self, operation: str, outcome: str, seconds: float) -> None:
        """Count one answered request."""
        name = operation if operation in _OPERATIONS else "other"
        # Finding a labelled child takes a lock and a look-up each time: they are few, so they are kept.
        children = self._children.get((name, outcome))
        if children is None:
            children = self._requests.labels(name, outcome), self._seconds.labels(name)
            self._children[name, outcome] = children
        counter, histogram = children
        counter.inc()
        histogram.observe(seconds)

    def revocation_looked_into(self, outcome: str) -> None:
        """Count one certificate that was ``good``, ``revoked`` or ``unknown``."""
        self._revocation.labels(outcome).inc()

    def changed(self, change: JobChange) -> None:
        """Count what happened to a job."""
        if change.kind == "image":
            self._images.inc()
        elif change.previous is not change.job.state and change.job.completed is not None:
            self._ended.labels(str(change.job.state)).inc()

    async def render(
        self, engine: JobEngine, connections: int, subscriptions: int, *, directory_answers: bool
    ) -> bytes:
        """Return the page Prometheus reads."""
        self._directory.set(directory_answers)
        for state, count in (await engine.counts()).items():
            self._jobs.labels(str(state)).set(count)
        self._spool_free.set(await asyncio.to_thread(engine.spool.free_bytes))
        self._connections.set(connections)
        self._subscriptions.set(subscriptions)
        return generate_latest(self.registry)


class ObserveApp:
    """Answers GET /metrics and GET /health."""

    def __init__(
        self,
        engine: JobEngine,
        metrics: Metrics,
        *,
        connections: Callable[[], int],
        subscriptions: Callable[[], int],
        min_free_bytes: int,
        directory_trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._connections = connections
        self._subscriptions = subscriptions
        self._min_free_bytes = min_free_bytes
        self._directory_trouble = directory_trouble

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        path = request.head.path
        if request.head.method not in ("GET", "HEAD"):
            return Response(HTTPStatus.METHOD_NOT_ALLOWED, headers=(("Allow", "GET, HEAD"),))
        if path == "/metrics":
            page = await self._metrics.render(
                self._engine,
                self._connections(),
                self._subscriptions(),
                directory_answers=self._directory_trouble() is None,
            )
            return Response(HTTPStatus.OK, page, "text/plain; version=0.0.4; charset=utf-8")
        if path == "/health":
            return await self._health()
        return Response(HTTPStatus.NOT_FOUND)

    async def _health(self) -> Response:
        problems = []
        free = await asyncio.to_thread(self._engine.spool.free_bytes)
        if free < self._min_free_bytes:
            problems.append("the spool is nearly full: new jobs are refused")
        try:
            await self._engine.counts()
        except Exception:
            _log.exception("health check failed")
            problems.append("the job store does not answer")
        trouble = self._directory_trouble()
        # Another process would not reach the directory either: nobody should restart the server for that.
        standing = "failing" if problems else "degraded" if trouble is not None else "ok"
        body = {
            "status": standing,
            "version": __version__,
            "problems": problems,
            "directory": "answers" if trouble is None else "does not answer: no job begins",
        }
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        return Response(status, json.dumps(body).encode() + b"\n", "application/json")

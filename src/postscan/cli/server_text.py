"""How `postscan server` tells what WS-DSC says: lines for people, facts for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from postscan.cli.exit_codes import ExitCode
from postscan.cli.job_text import said, short_dialect, telling
from postscan.contracts import dsc
from postscan.core.clock import xs_datetime
from postscan.core.errors import PostscanError
from postscan.soap.names import split_qname
from postscan.soap.xml import element_text

if TYPE_CHECKING:
    from postscan.console.follow import News

_SHOWN_OF_TOKEN = 8


class NoSuchJob(PostscanError):
    """No job under way has a token that begins like this, or several have."""

    exit_code = ExitCode.REFUSED
    advice = (
        "`postscan server jobs` shows the jobs there are; write as much of the token as is one job's alone."
    )


def token_among(begins: str, tokens: Sequence[str]) -> str:
    """Return the one token that begins so; raises NoSuchJob."""
    wanted = begins.strip().strip("{}").lower()
    found = [token for token in tokens if wanted and token.lower().startswith(wanted)]
    if len(found) != 1:
        number = "no job" if not found else f"{len(found)} jobs"
        raise NoSuchJob(f"{number} under way with a token that begins {begins!r}")
    return found[0]


def status_words(status: dsc.RepositoryStatus) -> str:
    """Return how the server stands, in words."""
    return said(str(status.state), [split_qname(str(reason))[1] for reason in status.reasons])


def status_facts(status: dsc.RepositoryStatus) -> dict[str, Any]:
    """Return how the server stands."""
    reasons = [split_qname(str(reason))[1] for reason in status.reasons]
    return {"state": str(status.state), "reasons": telling(reasons)}


def filters_of(offered: dsc.RepositoryConfiguration) -> list[tuple[dsc.Filter, list[str]]]:
    """Return each filter, and what it says of its configuration: the places it may deliver to."""
    return [
        (one, [element_text(leaf) for leaf in one.config.iter() if not len(leaf) and element_text(leaf)])
        for one in offered.filters
    ]


def summary_facts(job: dsc.JobSummary) -> dict[str, Any]:
    """Return a job of a list."""
    return {
        "token": job.job_token,
        "state": str(job.state),
        "reasons": [str(reason) for reason in job.reasons],
        "process": {"identifier": job.psp_identifier, "name": job.psp_display_name},
        "user": job.user_name,
        "images": job.images_received,
        "filters": _filter_facts(job.filters),
    }


def event_facts(one: News) -> dict[str, Any]:
    """Return an event, or what else there is to tell; ``event`` names its kind."""
    from postscan.console.follow import Snapshot, Trouble

    if isinstance(one, Snapshot):
        jobs = [summary_facts(job) for job in one.active.jobs]
        return {"event": "Snapshot", **status_facts(one.status), "jobs": jobs}
    if isinstance(one, Trouble):
        return {"event": "Trouble", "what": one.what}
    kind = split_qname(one.TAG)[1]
    if isinstance(one, dsc.RepositoryStatusSummaryEvent):
        return {"event": kind, **status_facts(one.summary)}
    if isinstance(one, dsc.RepositoryElementsChangeEvent):
        names = [short_dialect(dsc.dialect_uri(f.dialect)) for f, _ in _changed_filters(one)]
        return {"event": kind, "filters": names}
    job = one.status if isinstance(one, dsc.PostScanJobStatusEvent) else one.end_state
    facts: dict[str, Any] = {
        "event": kind,
        "token": job.job_token,
        "state": str(job.state),
        "reasons": [str(reason) for reason in job.reasons],
        "images": job.images_received,
        "completed": xs_datetime(job.completed) if job.completed is not None else None,
        "filters": _filter_facts(job.filters),
    }
    if isinstance(one, dsc.PostScanJobEndStateEvent):
        end = one.end_state
        facts["user"] = end.user_name
        facts["process"] = {"identifier": end.psp_identifier, "name": end.psp_display_name}
    return facts


def event_line(one: News) -> list[str]:
    """Return an event, or what else there is to tell, as lines for people."""
    from postscan.console.follow import Snapshot, Trouble

    if isinstance(one, Snapshot):
        jobs = [
            f"  {_short(job.job_token)}  {job.user_name}  {job.psp_display_name}  {_standing(job)}"
            for job in one.active.jobs
        ]
        return [f"server: {status_words(one.status)}", *jobs]
    if isinstance(one, Trouble):
        return [f"no events: {one.what}"]
    if isinstance(one, dsc.RepositoryStatusSummaryEvent):
        return [f"server: {status_words(one.summary)}"]
    if isinstance(one, dsc.RepositoryElementsChangeEvent):
        return [f"server: its configuration changed; filters: {', '.join(event_facts(one)['filters'])}"]
    if isinstance(one, dsc.PostScanJobStatusEvent):
        return [f"{_short(one.status.job_token)}  {_standing(one.status)}"]
    end = one.end_state
    outcome = said(str(end.state), [str(reason) for reason in end.reasons])
    return [f"{_short(end.job_token)}  {end.user_name}  {end.psp_display_name}  ended: {outcome}"]


def _changed_filters(one: dsc.RepositoryElementsChangeEvent) -> list[tuple[dsc.Filter, list[str]]]:
    offered = one.changes.configuration
    return [] if offered is None else filters_of(offered)


def _filter_facts(filters: Sequence[dsc.FilterStatus]) -> list[dict[str, Any]]:
    return [
        {"dialect": f.dialect, "state": str(f.state), "reasons": [str(reason) for reason in f.reasons]}
        for f in filters
    ]


def _standing(job: dsc.JobSummary | dsc.JobStatus) -> str:
    filters = ", ".join(f"{short_dialect(f.dialect)} {f.state}" for f in job.filters)
    number = job.images_received
    images = f"{number} image{'' if number == 1 else 's'}"
    return f"{said(str(job.state), [str(r) for r in job.reasons])}, {images}; {filters}"


def _short(token: str) -> str:
    return token[:_SHOWN_OF_TOKEN]

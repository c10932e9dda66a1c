"""How jobs are told to people; ``job`` is always what the server's local socket answers, as JSON."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from postscan.cli.output import Output

_ONLY_THE_STATE = frozenset({"PostScanJobCompletedSuccessfully", "PostScanJobCanceled"})


def print_job(output: Output, job: dict[str, Any]) -> None:
    """Print one job for people."""
    process = job["process"]
    output.heading(f"job {job['token']}")
    output.table(
        ["what", "value"],
        [
            ("state", said(job["state"], job["reasons"])),
            ("process", f"{process['name']} ({process['identifier']})"),
            ("user", f"{job['user']['upn']} ({job['user']['sid']})"),
            ("sent from", job["origin"]),
            ("user vouched for by", _voucher(job)),
            ("created", local_time(job["created"])),
            ("accepted", local_time(job["ended"])),
            ("completed", local_time(job["completed"])),
            ("images", f"{job['images']}, {job['bytes']:,} bytes, {_kept(job)}"),
            ("in the log as", job["correlation_id"]),
        ],
    )
    documents = job.get("documents", [])
    if documents:
        output.gap()
        output.table(
            ["document", "format", "bytes", "received", "sha256"],
            [
                (d["document"], d["format"], f"{d['size']:,}", local_time(d["received"]), d["sha256"])
                for d in documents
            ],
        )
    output.gap()
    output.table(
        ["filter", "state", "reasons", "destination", "delivery", "failed tries", "next try"],
        [
            (
                short_dialect(run["dialect"]),
                _filter_state(run),
                ", ".join(run["reasons"]) or None,
                place["label"],
                place["state"],
                place["attempts"],
                local_time(place["next_attempt"]) if place["state"] == "Waiting" else None,
            )
            for run in job["filters"]
            for place in run["destinations"]
        ],
        styles={"state": state_style, "delivery": state_style},
    )
    places = [place for run in job["filters"] for place in run["destinations"]]
    for run in job["filters"]:
        for place in run["destinations"]:
            who = short_dialect(run["dialect"]) if run["kind"] == "processing" else place["label"]
            for warning in place["warnings"]:
                output.line(f"warning: {who}: {warning}", style="yellow")
    for place in places:
        if place["last_error"]:
            output.line(_trouble(place), style="yellow")
            if place["advice"]:
                output.line(f"  what to do: {place['advice']}")
    called = _called(job)
    _print_made(output, job, called)
    files = [
        (called.get(one["document"], one["document"]), f"{one['size']:,}", place["label"], one["name"])
        for place in places
        for one in place["delivered"]
    ]
    if files:
        output.gap()
        output.table(["document", "bytes", "destination", "delivered as"], files)


def _print_made(output: Output, job: dict[str, Any], called: dict[int, str]) -> None:
    """Print what processing filters handed on."""
    rows = [
        (
            short_dialect(run["dialect"]),
            called.get(one["document"], one["document"]),
            one["format"],
            f"{one['size']:,}",
            one["pages"],
            _numbers(one["sources"]),
            one["name"],
        )
        for run in job["filters"]
        for one in run.get("made", [])
    ]
    if rows:
        output.gap()
        output.table(["step", "document", "format", "bytes", "pages", "made of", "name"], rows)


def _called(job: dict[str, Any]) -> dict[int, str]:
    """Return what documents are called that the server made: the step that made it, and its number there."""
    return {
        one["document"]: f"{short_dialect(run['dialect'])} {one['number']}"
        for run in job["filters"]
        for one in run.get("made", [])
        if not one["handed_on"]
    }


def _numbers(numbers: list[int]) -> str:
    """Return whole numbers as people write them: ``1-3, 5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _filter_state(run: dict[str, Any]) -> str:
    """Return a filter's state, and how far it is if it makes documents right now."""
    progress = run.get("progress")
    return f"{run['state']}, {progress['done']} of {progress['total']}" if progress else str(run["state"])


def _trouble(place: dict[str, Any]) -> str:
    """Return a destination's last error; most name the destination themselves."""
    error = place["last_error"] or "no reason known"
    return error if place["label"] in error else f"{place['label']}: {error}"


def _voucher(job: dict[str, Any]) -> str:
    """Return who says that the job is its user's."""
    who = job["vouched_by"]
    if who is None:
        return "not recorded"
    kind, _, which = who.partition(":")
    if kind == "certificate":
        return f"their own certificate, {which}"
    return f"the device {which}"


def _kept(job: dict[str, Any]) -> str:
    return "still in the spool" if job["images_kept"] else "no longer in the spool"


def local_time(moment: str | None, *, clock_only: bool = False) -> str | None:
    """Return a moment (ISO 8601) as this machine's clock shows it, to the second."""
    if moment is None:
        return None
    local = datetime.fromisoformat(moment).astimezone()
    return f"{local:%H:%M:%S}" if clock_only else f"{local:%Y-%m-%d %H:%M:%S}"


def telling(reasons: list[str] | tuple[str, ...]) -> list[str]:
    """Return the reasons that say something: the protocol has one that is called None."""
    return [reason for reason in reasons if reason != "None"]


def news(reasons: list[str] | tuple[str, ...]) -> list[str]:
    """Return the reasons that say more than the state does."""
    return [reason for reason in telling(reasons) if reason not in _ONLY_THE_STATE]


def said(state: str, reasons: list[str] | tuple[str, ...]) -> str:
    """Return a state and why it is so, as far as that says anything."""
    why = telling(reasons)
    return f"{state} ({', '.join(why)})" if why else str(state)


def short_dialect(dialect: str) -> str:
    """Return the last segment of a dialect's URI: ``fileshare``, ``email``, ``names``."""
    return re.split("[/:]", dialect.rstrip("/:"))[-1]


def state_style(state: str) -> str | None:
    """Return how a state looks on a terminal."""
    if state.startswith(("Completed", "Delivered")):
        return "yellow" if state.endswith(("Errors", "Warnings")) else "green"
    if state.startswith(("Aborted", "Failed")):
        return "red"
    return "yellow" if state.startswith(("Cancel", "Waiting")) else "cyan"


def all_delivered(job: dict[str, Any]) -> bool:
    """Tell whether every destination of a job has everything."""
    return all(place["state"] == "Delivered" for run in job["filters"] for place in run["destinations"])


def standing(job: dict[str, Any]) -> str:
    """Return where a job stands, and what it waits for, in one line."""
    filters = ", ".join(f"{short_dialect(run['dialect'])} {run['state']}" for run in job["filters"])
    waits = [
        f"; next try {local_time(place['next_attempt'], clock_only=True)}, for {_trouble(place)}"
        for run in job["filters"]
        for place in run["destinations"]
        if place["state"] == "Waiting"
    ]
    number = job["images"]
    images = f"{number} image{'' if number == 1 else 's'}"
    return f"{said(job['state'], job['reasons'])}, {images}; {filters}{''.join(waits)}"

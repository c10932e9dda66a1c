"""How jobs are told to people; ``job`` is always what the server's local socket answers, as JSON."""

from __future__ import annotations

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
                run["state"],
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
    for place in places:
        if place["last_error"]:
            output.line(_trouble(place), style="yellow")
    files = [
        (one["document"], f"{one['size']:,}", place["label"], one["name"])
        for place in places
        for one in place["delivered"]
    ]
    if files:
        output.gap()
        output.table(["document", "bytes", "destination", "delivered as"], files)


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
    """Return the last segment of a dialect's URI: ``fileshare``, ``email``, ``sharepoint``."""
    return dialect.rstrip("/").rpartition("/")[2]


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

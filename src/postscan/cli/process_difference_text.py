"""Tells what differs between scan processes, in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postscan.directory.model import StoredProcess
    from postscan.directory.process_difference import GrantChange, ProcessDifference
    from postscan.directory.process_import import Comparison, PlannedProcess

STATUS = {"add": "added", "change": "changed", "same": "same", "skip": "skipped"}


def difference_lines(difference: ProcessDifference) -> Iterator[str]:
    """Tell each change on a line: ``-`` goes, ``+`` comes."""
    if difference.renamed is not None:
        yield f"- name {difference.renamed}"
    for kind, change in (("group", difference.groups), ("user", difference.users)):
        yield from (f"- may use: {kind} {name}" for name in change.removed)
        yield from (f"+ may use: {kind} {name}" for name in change.added)
    if difference.rewritten and not difference.content:
        yield "  only the XML's writing differs, not what it says"
    for content in difference.content:
        where = content.path or "the process itself"
        yield from (
            f"{sign} {where}: {text}"
            for sign, text in (("-", content.before), ("+", content.after))
            if text is not None
        )


def planned_json(planned: PlannedProcess) -> dict[str, Any]:
    """Return one scan process of an import or a comparison, ready for JSON."""
    draft, difference = planned.draft, planned.difference
    described: dict[str, Any] = {
        "identifier": str(draft.identifier),
        "display_name": draft.display_name,
        "status": STATUS[planned.step],
    }
    if difference:
        described |= {
            "renamed_from": difference.renamed,
            "only_writing_differs": difference.rewritten and not difference.content,
            "content": [
                {"path": change.path, "before": change.before, "after": change.after}
                for change in difference.content
            ],
            "users": _grants_json(difference.users),
            "groups": _grants_json(difference.groups),
        }
    return described


def comparison_json(comparison: Comparison, only_there: list[StoredProcess]) -> list[dict[str, Any]]:
    """Return a whole comparison, ready for JSON."""
    return [planned_json(planned) for planned in comparison.processes] + [
        {
            "identifier": str(process.identifier),
            "display_name": process.display_name,
            "status": "only in the directory",
        }
        for process in only_there
    ]


def _grants_json(change: GrantChange) -> dict[str, list[str]]:
    return {"added": list(change.added), "removed": list(change.removed)}

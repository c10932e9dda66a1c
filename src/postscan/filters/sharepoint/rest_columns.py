"""Columns of a file by REST: those that its library has, and that may be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from postscan.filters.sharepoint.library import LibraryError, Trouble
from postscan.filters.sharepoint.replies import objects_of, text_of
from postscan.filters.sharepoint.rest_web import RestWeb, UnknownCall

_DOING: Final = "filling the columns"
# Whatever cannot be healed by trying the whole delivery again is a column that stays empty.
_WORTH_A_RETRY: Final = frozenset(
    {Trouble.AWAY, Trouble.THROTTLED, Trouble.WRONG_CREDENTIALS, Trouble.UNTRUSTED}
)
_MERGE: Final[Mapping[str, str]] = {"X-HTTP-Method": "MERGE", "If-Match": "*"}


async def fill_columns(web: RestWeb, file_call: str, path: str, columns: Mapping[str, str]) -> Sequence[str]:
    """Fill columns of the file at ``path``; return the names of those that it has not, or did not take.

    ``ValidateUpdateListItem`` with bNewDocumentUpdate makes no further version and tells of each column what
    is wrong with it; where a server does not know it, the item is changed as a whole (MERGE).
    """
    try:
        known = await _writable(web, file_call, path)
        wanted = {name: value for name, value in columns.items() if name in known}
        missed = [name for name in columns if name not in known]
        if not wanted:
            return missed
        try:
            return [*missed, *await _by_form(web, file_call, path, wanted)]
        except UnknownCall:
            await _by_merge(web, file_call, path, wanted)
            return missed
    except LibraryError as error:
        if error.trouble in _WORTH_A_RETRY:
            raise
        return list(columns)


async def _writable(web: RestWeb, file_call: str, path: str) -> set[str]:
    found = await web.get(
        f"{file_call}/ListItemAllFields/ParentList/Fields",
        _DOING,
        select="InternalName,ReadOnlyField",
        f=path,
    )
    fields = objects_of(found.get("results", found.get("value")))
    names = (text_of(field, "InternalName") for field in fields if field.get("ReadOnlyField") is not True)
    return {name for name in names if name}


async def _by_form(web: RestWeb, file_call: str, path: str, columns: Mapping[str, str]) -> Sequence[str]:
    kind = {"type": "SP.ListItemFormUpdateValue"}
    values = [{"__metadata": kind, "FieldName": name, "FieldValue": value} for name, value in columns.items()]
    found = await web.post_json(
        f"{file_call}/ListItemAllFields/ValidateUpdateListItem",
        _DOING,
        {"formValues": values, "bNewDocumentUpdate": True},
        f=path,
    )
    outcome = found.get("ValidateUpdateListItem", found)
    results = objects_of(
        outcome.get("results", outcome.get("value")) if isinstance(outcome, Mapping) else None
    )
    return [str(one.get("FieldName")) for one in results if one.get("HasException") is True]


async def _by_merge(web: RestWeb, file_call: str, path: str, columns: Mapping[str, str]) -> None:
    item = f"{file_call}/ListItemAllFields"
    found = await web.get(item, _DOING, select="Id", f=path)
    metadata = found.get("__metadata")
    kind = text_of(metadata, "type") if isinstance(metadata, Mapping) else None
    body = {"__metadata": {"type": kind or "SP.ListItem"}, **columns}
    await web.post_json(item, _DOING, body, headers=_MERGE, f=path)

"""One web of SharePoint by REST: where it is, its request digest, and requests to it.

Sources: "Get to know the SharePoint REST service", "Determine SharePoint REST service endpoint URIs"
(parameter aliases), "Working with requestDigest". JSON is asked for as OData verbose, which every version
since 2013 speaks.

Names travel as parameter aliases in the query (``…(decodedurl=@f)?@f='…'``): in the path, ASP.NET refuses
some characters that names may have (``%``, ``&``, ``:``, ``*``), however they are encoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from postscan.core.clock import Clock, SystemClock
from postscan.core.secret import Secret
from postscan.filters.sharepoint.address import LibraryAddress, encoded
from postscan.filters.sharepoint.http import Answer, FilePart, Site
from postscan.filters.sharepoint.library import LibraryError, Trouble
from postscan.filters.sharepoint.replies import (
    USER_AGENT,
    failure,
    fault_of,
    is_unknown_call,
    json_object,
    size_of,
    text_of,
)

VERBOSE: Final = "application/json;odata=verbose"
_HEADERS: Final[Mapping[str, str]] = {
    "Accept": VERBOSE,
    # So that the words of errors are those that are looked for.
    "Accept-Language": "en-US",
    "User-Agent": USER_AGENT,
    # Where forms are offered besides Windows' own ways of logging on, this asks for the latter.
    "X-FORMS_BASED_AUTH_ACCEPTED": "f",
}
# SPException numbers of "The security validation for this page is invalid" (and "… might be corrupted").
_STALE_DIGEST: Final = ("-2130575252", "-2130575251")


class UnknownCall(LibraryError):
    """The server is older than the call it was sent."""


def literal(text: str) -> str:
    """Return ``text`` as a string literal of OData in a URL's query: quotes doubled, percent-encoded once."""
    return "'" + quote(text.replace("'", "''"), safe="/") + "'"


class RestWeb:
    """The web that a library is in.

    :param site: the one connection that is used.
    :param address: the library; the web is asked for, as the address alone does not tell it.
    """

    def __init__(self, site: Site, address: LibraryAddress, *, clock: Clock | None = None) -> None:
        self._site = site
        self._address = address
        self._clock = clock or SystemClock()
        self._web: tuple[str, ...] = address.site_path
        self._digest: Secret | None = None
        self._digest_ends = 0.0

    @property
    def path(self) -> tuple[str, ...]:
        """The segments of the web, once it is open."""
        return self._web

    async def open(self) -> None:
        """Find the web, and get a digest; a second time it does nothing."""
        if self._digest is not None:
            return
        await self._renew_digest()
        if len(self._address.library_path) > 1:
            deepest = await self._web_of_library()
            if deepest is not None and deepest != self._web:
                self._web = deepest
                await self._renew_digest()

    async def get(self, call: str, doing: str, *, select: str = "", **aliases: str) -> Mapping[str, object]:
        """Return what a GET answers, without the envelope of OData; raises LibraryError."""
        await self.open()
        answer = await self._site.request("GET", self.url(call, select=select, **aliases), headers=_HEADERS)
        return unwrapped(_successful(answer, doing), doing)

    async def post(
        self,
        call: str,
        doing: str,
        *,
        body: bytes | FilePart | None = None,
        headers: Mapping[str, str] | None = None,
        **aliases: str,
    ) -> Mapping[str, object]:
        """Return what a POST answers, an empty object where it answers nothing; raises LibraryError.

        The digest is renewed when it is old, and once more when the server says that it is.
        """
        await self.open()
        url = self.url(call, **aliases)
        answer = await self._post(url, headers or {}, body)
        if _is_stale_digest(answer):
            await self._renew_digest()
            answer = await self._post(url, headers or {}, body)
        _successful(answer, doing)
        return unwrapped(answer, doing) if answer.body else {}

    async def post_json(
        self,
        call: str,
        doing: str,
        value: object,
        *,
        headers: Mapping[str, str] | None = None,
        **aliases: str,
    ) -> Mapping[str, object]:
        """POST an object as JSON."""
        body = json.dumps(value, ensure_ascii=True).encode()
        return await self.post(
            call, doing, body=body, headers={"Content-Type": VERBOSE, **(headers or {})}, **aliases
        )

    def url(self, call: str, *, select: str = "", **aliases: str) -> str:
        """Return path and query of a call, such as ``GetFolderByServerRelativePath(decodedurl=@f)``."""
        query = [f"@{name}={literal(value)}" for name, value in aliases.items()]
        if select:
            query.append(f"$select={quote(select, safe=',/')}")
        return f"{self._root}/_api/web/{call}" + ("?" + "&".join(query) if query else "")

    @property
    def _root(self) -> str:
        return encoded(*self._web) if self._web else ""

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes | FilePart | None) -> Answer:
        if self._digest is None or self._clock.monotonic() >= self._digest_ends:
            await self._renew_digest()
        digest = self._digest.reveal() if self._digest is not None else ""
        everything = {**_HEADERS, "X-RequestDigest": digest, **headers}
        return await self._site.request("POST", url, headers=everything, body=b"" if body is None else body)

    async def _renew_digest(self) -> None:
        doing = "asking the site for a request digest"
        answer = await self._site.request(
            "POST", f"{self._root}/_api/contextinfo", headers=_HEADERS, body=b""
        )
        found = unwrapped(_successful(answer, doing), doing)
        inner = found.get("GetContextWebInformation", found)
        found = inner if isinstance(inner, Mapping) else found
        digest = text_of(found, "FormDigestValue")
        if not digest or not digest.isprintable():
            raise LibraryError(f"{doing}: the answer has none", Trouble.UNREADABLE)
        seconds = size_of(found, "FormDigestTimeoutSeconds") or 0
        self._digest = Secret(digest)
        # Renewed early, so that no large document travels with a digest that ends on its way.
        self._digest_ends = self._clock.monotonic() + seconds * 0.5
        self._take_web(text_of(found, "WebFullUrl"))

    def _take_web(self, full_url: str | None) -> None:
        # The host may be another one (alternate access mappings); only the path says which web it is.
        found = web_path_of(full_url)
        if found is not None and _is_above(found, self._address.path):
            self._web = self._address.path[: len(found)]

    async def _web_of_library(self) -> tuple[str, ...] | None:
        """Ask which web the library is in, as it may be one below the site; None: nobody tells."""
        url = f"{self._root}/_api/SP.Web.GetWebUrlFromPageUrl(@u)?@u={literal(str(self._address))}"
        answer = await self._site.request("GET", url, headers=_HEADERS)
        if answer.status != 200:
            return None
        found = unwrapped(answer, "asking which site the library is in")
        path = web_path_of(text_of(found, "GetWebUrlFromPageUrl") or text_of(found, "value"))
        if path is None or not _is_above(path, self._address.path) or len(path) < len(self._web):
            return None
        return self._address.path[: len(path)]


def unwrapped(answer: Answer, doing: str) -> Mapping[str, object]:
    """Return the object in an answer, without ``d``, the envelope of OData verbose."""
    found = json_object(answer, doing)
    inner = found.get("d")
    return inner if isinstance(inner, Mapping) else found


def _successful(answer: Answer, doing: str) -> Answer:
    if 200 <= answer.status < 300:
        return answer
    if is_unknown_call(answer):
        said = fault_of(answer).text
        raise UnknownCall(f"{doing}: the server does not know this call ({said})", Trouble.REFUSED)
    raise failure(answer, doing)


def _is_stale_digest(answer: Answer) -> bool:
    if answer.status != 403:
        return False
    fault = fault_of(answer)
    return fault.code.startswith(_STALE_DIGEST) or "security validation" in fault.text.lower()


def web_path_of(full_url: str | None) -> tuple[str, ...] | None:
    """Return the decoded segments of a web's address, None when it is none."""
    try:
        path = urlsplit(full_url or "").path
    except ValueError:
        return None
    return tuple(unquote(segment) for segment in path.split("/") if segment) if full_url else None


def _is_above(above: tuple[str, ...], path: tuple[str, ...]) -> bool:
    same = [one.casefold() for one in above] == [one.casefold() for one in path[: len(above)]]
    return same and len(above) < len(path)

"""The error of pages that cannot be worked on."""

from __future__ import annotations

from typing import ClassVar

from postscan.core.errors import PostscanError


class PageError(PostscanError):
    """A document is damaged, asks for too much, or is of a kind that cannot be put where it should go."""

    advice: ClassVar[str] = (
        "Look at the document that is named, and scan its page again; the original is kept."
    )


def damaged(document: str, why: str) -> PageError:
    """Return the error of a document whose octets are not what they should be."""
    return PageError(f"{document} is damaged or cut short: {why}")


class TooManyPages(PageError):
    """There are more pages than anything is put together of."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"there are more than {most:,} pages",
            advice="Scan in smaller jobs, or raise processing.pages: beyond that, nothing is put together.",
        )

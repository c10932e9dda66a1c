"""What a filter can tell of its instructions before any job runs with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lxml.etree import _Element

    from postscan.filters.contract import JobFacts


@runtime_checkable
class PreviewedFilter(Protocol):
    """A filter that shows what its instructions would come to."""

    def preview(self, instructions: _Element, job: JobFacts) -> list[str]:
        """Return what would come of a job of these facts, a short sentence each, in order.

        ``instructions`` is psp:Instructions. Touches neither files nor network.

        :raises InstructionsError: the instructions are wrong, as ``destinations`` would say.
        """

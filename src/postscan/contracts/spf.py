"""Instructions of the SharePoint filter (scan-process-and-filters.md; schema/spf.xsd)."""

from __future__ import annotations

from postscan.contracts.binding import Bound, element, flag, texts
from postscan.soap.names import SPF


@element(SPF, "SharePointConfig")
class SharePointConfig(Bound):
    """The libraries to save to: the user's own, and ``urls`` of at most 2,048 characters each."""

    save_to_my_site: bool = flag("SaveToMySite", default=False)
    urls: tuple[str, ...] = texts("SaveToSharePointSiteURL", wrapper="SaveToSharePointSites", default=())

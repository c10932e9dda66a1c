"""The published SharePoint filter: documents into ``user@domain`` folders of document libraries.

For each document, in this order:

1. the image in the spool is checked to be what was accepted (R-8);
2. the first free name is written into the ledger, durably: after a crash we know where to look;
3. the document is put there, which never replaces anything (R-6);
4. columns are filled, where the settings name some; what cannot be filled is a warning;
5. "delivered" is written into the ledger: the record never runs ahead of the library (R-3).

After a crash a file under the planned name is compared with the document. The same is ours, and is not sent
again (R-2); the beginning of it is what a broken upload left, and is replaced, under the same name; anything
else is somebody else's, and the next free name is taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import tzinfo
from typing import TYPE_CHECKING, ClassVar, Final

from postscan.contracts.keywords import FilterStateReason
from postscan.contracts.psp import filter_config
from postscan.contracts.spf import SharePointConfig
from postscan.core.errors import ConfigurationError, InvalidArgument, PostscanError
from postscan.filters.contract import (
    DeliveryError,
    DeliveryLedger,
    DeliveryOrder,
    Destination,
    InstructionsError,
    JobFacts,
    ProbeOrder,
)
from postscan.filters.sharepoint.address import (
    AddressError,
    LibraryAddress,
    Origin,
    address_of,
    parse_library_address,
)
from postscan.filters.sharepoint.library import LibraryError
from postscan.filters.sharepoint.probing import probe_library
from postscan.filters.sharepoint.troubles import delivery_failure
from postscan.filters.sharepoint.visit import SharePointSite, Visit
from postscan.soap.names import SPF

if TYPE_CHECKING:
    from lxml.etree import _Element

_ADDRESS_DETAIL: Final = "spf:SaveToSharePointSiteURL"
_MY_SITE_DETAIL: Final = "spf:SaveToMySite"


class SharePointFilter:
    """Delivers to document libraries of the sites it was given, and to no others (abuse case 37).

    :param zone: the time zone of names; this machine's when None.
    """

    dialect: ClassVar[str] = SPF

    def __init__(self, sites: Mapping[Origin, SharePointSite], zone: tzinfo | None = None) -> None:
        self._sites = dict(sites)
        self._zone = zone

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return one destination a library, each once; the user's own site comes last.

        :raises InstructionsError: no library is named, one may not be written to, or the user has no site.
        """
        config = _config(instructions)
        addresses = [self._address(url, _ADDRESS_DETAIL) for url in config.urls]
        if config.save_to_my_site:
            if not job.user_home_site:
                raise InstructionsError(
                    f"{job.user_name} has no site of their own: the directory knows no address of it",
                    detail=_MY_SITE_DETAIL,
                    advice="Enter its address in the directory (directory.home_site_attribute of the user's"
                    " account), or take SaveToMySite out of the scan process.",
                )
            addresses.append(self._address(job.user_home_site, _MY_SITE_DETAIL))
        if not addresses:
            # The schema allows it, but the scan would vanish and the job be called a success.
            raise InstructionsError("SharePoint instructions that name no library", detail=_ADDRESS_DETAIL)
        found: dict[str, Destination] = {}
        for address in addresses:
            found.setdefault(str(address), Destination(str(address), f"the library {address}"))
        return list(found.values())

    def configuration(self) -> _Element | None:
        """Return spf:SharePointConfig with the sites that may be delivered to; None if there are none."""
        urls = tuple(str(origin) for origin in self._sites)
        return SharePointConfig(urls=urls).to_element() if urls else None

    async def deliver(self, order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        """Deliver every document not yet delivered (see the module); raises DeliveryError."""
        done = await ledger.already_delivered()
        waiting = [document for document in order.documents if document.document_id not in done]
        if not waiting:
            return
        async with self._opened(order.destination, order.job) as visit:
            await visit.deliver(waiting, ledger)

    async def probe(self, order: ProbeOrder) -> list[str]:
        """Put a small file into the user's folder and remove it; see contract.ProbedFilter."""
        async with self._opened(order.destination, order.job) as visit:
            return await probe_library(visit.library, visit.folder_name, order.destination.label)

    @asynccontextmanager
    async def _opened(self, destination: Destination, job: JobFacts) -> AsyncIterator[Visit]:
        """Be at a library; what goes wrong there becomes DeliveryError."""
        address, site = self._target(destination)
        try:
            library = site.open_library(address)
        except PostscanError as error:
            # A password that was not entered, a key that cannot be read: mended without a new scan.
            raise DeliveryError(
                f"{destination.label}: {error}",
                reason=FilterStateReason.SHAREPOINT_ACCESS_DENIED,
                transient=True,
                advice=error.what_to_do or ConfigurationError.advice,
            ) from error
        try:
            yield Visit(library, address, site, job, self._zone, destination.label)
        except LibraryError as error:
            raise delivery_failure(error, destination.label) from error
        finally:
            await library.close()

    def _address(self, url: str, detail: str) -> LibraryAddress:
        """Return the library that an address of a scan process, or of a user, means."""
        url = url.strip()
        try:
            # To find the site, whose settings say which library a site's own address means.
            site = self._site(parse_library_address(url, default_library="x").origin)
            default = site.my_site_library if detail == _MY_SITE_DETAIL else site.library
            return parse_library_address(url, default_library=default)
        except AddressError as error:
            raise InstructionsError(str(error), detail=detail, advice=error.what_to_do) from error
        except InstructionsError as error:
            raise InstructionsError(str(error), detail=detail, advice=error.what_to_do) from error

    def _site(self, origin: Origin) -> SharePointSite:
        site = self._sites.get(origin)
        if site is None:
            raise InstructionsError(
                f"{origin} is none of the SharePoint sites that may be delivered to",
                advice=f'Allow it by a section [sharepoint.sites."{origin}"] in the settings, or correct the'
                " scan process.",
            )
        return site

    def _target(self, destination: Destination) -> tuple[LibraryAddress, SharePointSite]:
        try:
            address = address_of(destination.key)
            return address, self._site(address.origin)
        except (AddressError, InstructionsError) as error:
            # It was allowed when the job was created: the settings have changed since.
            raise DeliveryError(
                f"{destination.label} may no longer be delivered to: {error}",
                reason=FilterStateReason.SHAREPOINT_ACCESS_DENIED,
                transient=False,
                advice=error.what_to_do,
            ) from error


def _config(instructions: _Element) -> SharePointConfig:
    """Return the instructions; given is the SharePointConfig or the element that holds it."""
    try:
        if instructions.tag == SharePointConfig.TAG:
            return SharePointConfig.from_element(instructions)
        return filter_config(instructions, SharePointConfig)
    except InvalidArgument as error:
        raise InstructionsError(f"SharePoint instructions: {error}", detail=error.detail) from error

"""Every target, by name."""

from __future__ import annotations

from typing import Final

from fuzz.target import Target
from fuzz.targets import (
    addressing,
    dfs,
    discovery,
    eventing,
    host,
    http_body,
    http_head,
    jpeg_markers,
    ldap,
    metadata,
    mime,
    mtom,
    places,
    process,
    responder,
    search,
    sharepoint,
    templates,
    webdav,
    wsdsc,
    wsdsp,
    xml,
)

TARGETS: Final[dict[str, Target]] = {
    module.TARGET.name: module.TARGET
    for module in (
        xml,
        addressing,
        discovery,
        responder,
        search,
        eventing,
        metadata,
        http_head,
        http_body,
        mime,
        mtom,
        process,
        wsdsp,
        wsdsc,
        host,
        ldap,
        sharepoint,
        webdav,
        templates,
        places,
        dfs,
        jpeg_markers,
    )
}

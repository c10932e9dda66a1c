"""Namespaces and fixed URIs (spec README, Constants; dpws.md, 0.1 and 0.2)."""

from __future__ import annotations

from typing import Final

SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
SOAP11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
WSA: Final = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSA_2005: Final = "http://www.w3.org/2005/08/addressing"
WSD: Final = "http://schemas.xmlsoap.org/ws/2005/04/discovery"
WSDP: Final = "http://schemas.xmlsoap.org/ws/2006/02/devprof"
WSE: Final = "http://schemas.xmlsoap.org/ws/2004/08/eventing"
WSX: Final = "http://schemas.xmlsoap.org/ws/2004/09/mex"
WXF: Final = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
WSDL: Final = "http://schemas.xmlsoap.org/wsdl/"
LMS: Final = "http://schemas.microsoft.com/windows/dpws/LargeMetadataSupport/2007/08"
PNPX: Final = "http://schemas.microsoft.com/windows/pnpx/2005/10"
WSSE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
XOP: Final = "http://www.w3.org/2004/08/xop/include"
XOP_2003: Final = "http://www.w3.org/2003/12/xop/include"
DSP: Final = "http://schemas.microsoft.com/windows/2008/12/wdp/distributedscan/processing"
DSC: Final = "http://schemas.microsoft.com/windows/2008/12/wdp/distributedscan/configuration"
DSD: Final = "http://schemas.microsoft.com/windows/2008/12/wdp/distributedscan/device"
WSCN: Final = "http://schemas.microsoft.com/windows/2006/08/wdp/scan"
PSP: Final = "http://schemas.microsoft.com/windows/2008/02/imaging/postscan/psp"
FTR: Final = "http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter"
FSF: Final = "http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/fileshare"
SPF: Final = "http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/sharepoint"
EMLF: Final = "http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/email"
SPX: Final = "http://schemas.microsoft.com/windows/2010/09/imaging/postscan/scanprocess/extensions"
# What this project adds where the published namespaces leave room for vendors.
EXTENSIONS: Final = "urn:postscan:extensions"
# What the dialects of our own processing filters begin with, and these.
OWN_FILTERS: Final = "urn:postscan:filter"
ASSEMBLE: Final = "urn:postscan:filter:assemble"
OCR: Final = "urn:postscan:filter:ocr"
NAMES: Final = "urn:postscan:filter:names"
XML: Final = "http://www.w3.org/XML/1998/namespace"

# Several firmwares only understand the prefixes Windows writes (dpws.md, 2.1).
PREFIXES: Final[dict[str, str]] = {
    "soap": SOAP,
    "wsa": WSA,
    "wsd": WSD,
    "wsdp": WSDP,
    "wse": WSE,
    "wsx": WSX,
    "wsse": WSSE,
    "lms": LMS,
    "pnpx": PNPX,
    "xop": XOP,
    "dsp": DSP,
    "dsc": DSC,
    "dsd": DSD,
    "wscn": WSCN,
    "psp": PSP,
    "ftr": FTR,
    "fsf": FSF,
    "spf": SPF,
    "emlf": EMLF,
    "spx": SPX,
    "px": EXTENSIONS,
    "assemble": ASSEMBLE,
    "ocr": OCR,
    "names": NAMES,
}
PREFIX_OF: Final[dict[str, str]] = {uri: prefix for prefix, uri in PREFIXES.items()}

ANONYMOUS: Final = f"{WSA}/role/anonymous"
ANONYMOUS_2005: Final = f"{WSA_2005}/anonymous"
FAULT_ACTION: Final = f"{WSA}/fault"
DISCOVERY_FAULT_ACTION: Final = f"{WSD}/fault"
DPWS_FAULT_ACTION: Final = f"{WSDP}/fault"
DISCOVERY_TO: Final = "urn:schemas-xmlsoap-org:ws:2005:04:discovery"


def qname(namespace: str, local: str) -> str:
    """Return the Clark name ``{namespace}local`` that lxml uses for a qualified name."""
    return f"{{{namespace}}}{local}"


def split_qname(clark: str) -> tuple[str, str]:
    """Split ``{namespace}local`` into its two halves; the namespace is empty where there is none."""
    if clark.startswith("{"):
        namespace, _, local = clark[1:].partition("}")
        return namespace, local
    return "", clark


def display_name(clark: str) -> str:
    """Return a name for people and fault details: ``prefix:local`` with our prefix, else the local name."""
    namespace, local = split_qname(clark)
    prefix = PREFIX_OF.get(namespace)
    return f"{prefix}:{local}" if prefix else local

"""Messages of our own that have the traits of captured ones."""

from __future__ import annotations

from postscan.contracts import wsd
from postscan.dpws.discovery.messages import read_datagram
from postscan.soap.envelope import Envelope
from postscan.soap.names import (
    ANONYMOUS,
    DISCOVERY_TO,
    DSD,
    DSP,
    PNPX,
    SOAP,
    WSA,
    WSCN,
    WSD,
    WSDP,
    WSX,
    WXF,
    XOP,
    qname,
)

DEVICE = qname(WSDP, "Device")
ID = "urn:uuid:5d0f4a3e-0000-4000-8000-00000000000a"
ASKED = "urn:uuid:5d0f4a3e-0000-4000-8000-00000000000b"
ENDPOINT = "urn:uuid:77f6c1aa-0000-4000-8000-0000000000d1"
ADDRESS = "http://192.168.7.42:5357/77f6c1aa"
PREFIXES = {
    "e": SOAP,
    "a": WSA,
    "d": WSD,
    "p": WSDP,
    "x": WSX,
    "n": PNPX,
    "w": WSCN,
    "dsp": DSP,
    "dsd": DSD,
    "xop": XOP,
}
DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in PREFIXES.items())
GET_RESPONSE = f"{WXF}/GetResponse"
REFERENCE = f"<a:EndpointReference><a:Address>{ENDPOINT}</a:Address></a:EndpointReference>"


def envelope(
    action: str, body: str, *, headers: str = "", prolog: str = "", declared: str = DECLARED
) -> bytes:
    return (
        f"{prolog}<e:Envelope {declared}><e:Header><a:Action>{action}</a:Action>{headers}</e:Header>"
        f"<e:Body>{body}</e:Body></e:Envelope>"
    ).encode()


def question(action: str, body: str, *, headers: str = "", **more: str) -> bytes:
    ids = f"<a:To>{DISCOVERY_TO}</a:To><a:MessageID>{ID}</a:MessageID>"
    return envelope(action, body, headers=ids + headers, **more).ljust(800)


def told(action: str, body: str, *, headers: str = f"<a:To>{ANONYMOUS}</a:To>") -> bytes:
    ids = f"<a:MessageID>{ID}</a:MessageID><a:RelatesTo>{ASKED}</a:RelatesTo>"
    return envelope(action, body, headers=ids + headers)


def datagram(data: bytes) -> Envelope:
    read = read_datagram(data)
    assert read is not None
    return read


def only_match(data: bytes) -> wsd.ProbeMatch:
    body = datagram(data).body
    assert body is not None
    (match,) = wsd.ProbeMatches.from_element(body).matches
    return match


def match(content: str) -> str:
    return f"<d:ProbeMatches><d:ProbeMatch>{content}</d:ProbeMatch></d:ProbeMatches>"


def sections(*contents: str) -> str:
    whole = "".join(
        f'<x:MetadataSection Dialect="{WSDP}/{c[3 : c.index(">")].split()[0]}">{c}</x:MetadataSection>'
        for c in contents
    )
    return f"<x:Metadata>{whole}</x:Metadata>"

"""Odd messages made of good ones, the way peers and attackers get them wrong.

Every function takes its chances from a Random that is handed in, so that hypothesis can take them back.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from lxml import etree

from postscan.core.errors import PostscanError
from postscan.soap.names import PREFIXES, SOAP, XML, qname, split_qname
from postscan.soap.xml import parse

_ODD_TEXTS: Final = (
    "",
    " ",
    "\t\n ",
    "0",
    "-1",
    "+1",
    "00000000000000000001",
    "4294967295",
    "4294967296",
    "9" * 400,
    "1e9",
    "\u0661\u0662",
    "NaN",
    "true",
    "TRUE",
    "None",
    "x:y",
    ":",
    "a:b:c",
    "wsdp:Device",
    "{urn:a}b",
    "P1D",
    "P",
    "PT0S",
    "-P999999999999999999999Y",
    "PT9999999999999999999999999999S",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T24:00:00Z",
    "2026-02-30T00:00:00Z",
    "urn:uuid:00000000-0000-0000-0000-000000000000",
    "http://[",
    "http://[fe80::1%25eth0]:0/",
    "http://a:99999/",
    "https://scan.example.com:5362/ScanServer/../x",
    "cid:%00%ff@x",
    "\ufffd\U0001f600\u202e",
    "a" * 3_000,
    "S-1-5-21-1-2-3-4",
    "{C4F199C7-6876-4549-A86E-A85035952448}",
)
_ODD_INSERTS: Final = (
    b" ",
    b"\n\t ",
    b"<!-- -->",
    b"<?a b?>",
    b"&lt;",
    b"&#0;",
    b"&#x10FFFF;",
    b"&entity;",
    b"<![CDATA[ ]]>",
    b"<![CDATA[",
    b"]]>",
    b"<!DOCTYPE a [<!ENTITY e 'x'>]>",
    b"<a>",
    b"</a>",
    b"<",
    b">",
    b"&",
    b"\x00",
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xef\xbb\xbf",
)
_DECLARATION: Final = re.compile(rb"xmlns:([A-Za-z0-9]+)=")
_NUMBER: Final = re.compile(rb"[0-9]+")
_TAG_END: Final = re.compile(rb"[<>]")
_MOST_NESTED: Final = 80
_LARGEST: Final = 16_384

Tree = Callable[[etree._Element, Random], None]


def mutate_octets(data: bytes, random: Random) -> bytes:
    """Return ``data`` with some octets changed, dropped, repeated, or cut off."""
    if not data:
        return bytes(random.randrange(256) for _ in range(random.randrange(1, 20)))
    start = random.randrange(len(data))
    end = min(len(data), start + random.randrange(1, 40))
    match random.randrange(6):
        case 0:
            return data[:start]
        case 1:
            return data[:start] + data[end:]
        case 2:
            return data[:end] + data[start:]
        case 3:
            return data[:start] + bytes([random.randrange(256)]) + data[start + 1 :]
        case 4:
            return data[:start] + bytes([data[start] ^ (1 << random.randrange(8))]) + data[start + 1 :]
        case _:
            return data[:start] + random.choice(_ODD_INSERTS) + data[start:]


def mutate_xml(data: bytes, random: Random) -> bytes:
    """Return a document with elements, names, prefixes, values, or octets of it changed."""
    for _ in range(random.randrange(1, 4)):
        change = _in_tree if random.randrange(3) else random.choice(_TEXTUAL)
        data = change(data, random)
    return data[:_LARGEST]


def mutate_lines(data: bytes, random: Random) -> bytes:
    """Return a text of lines (a head, part headers, a frame) with lines or octets of it changed."""
    for _ in range(random.randrange(1, 4)):
        if not random.randrange(3):
            data = mutate_octets(data, random)
            continue
        lines = data.split(b"\n")
        at = random.randrange(len(lines))
        line = lines[at]
        match random.randrange(9):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, line)
            case 2:
                other = random.randrange(len(lines))
                lines[at], lines[other] = lines[other], line
            case 3:
                lines[at] = line.removesuffix(b"\r") if line.endswith(b"\r") else line + b"\r"
            case 4:
                lines[at] = random.choice((b" ", b"\t")) + line
            case 5:
                lines[at] = line.swapcase()
            case 6:
                number = str(random.choice((0, 1, 7, 255, 65_536, 2**32, 2**64, 10**30))).encode()
                lines[at] = _NUMBER.sub(number, line, count=1)
            case 7:
                lines[at] = line.replace(b": ", random.choice((b":", b" : ", b": \x0b", b":\t")), 1)
            case _:
                lines[at] = line + random.choice((b"\r", b";", b'"', b",", b"\x00", b"\xff", b" chunked"))
        data = b"\n".join(lines)
    return data[:_LARGEST]


# Trees --------------------------------------------------------------------------------------------------


def _in_tree(data: bytes, random: Random) -> bytes:
    try:
        root = parse(data)
    except PostscanError:
        return mutate_octets(data, random)
    elements = list(root.iter("{*}*"))
    random.choice(_TREE)(random.choice(elements), random)
    return etree.tostring(root)


def _drop(element: etree._Element, random: Random) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _repeat(element: etree._Element, random: Random) -> None:
    parent = element.getparent()
    if parent is not None:
        for _ in range(random.choice((1, 1, 1, 2, 40))):
            parent.insert(parent.index(element), copy.deepcopy(element))


def _move(element: etree._Element, random: Random) -> None:
    root = element.getroottree().getroot()
    inside = set(element.iter("{*}*"))
    places = [e for e in root.iter("{*}*") if e not in inside]
    if places:
        random.choice(places).append(element)


def _rename(element: etree._Element, random: Random) -> None:
    namespace, local = split_qname(str(element.tag))
    others = [str(e.tag) for e in element.getroottree().getroot().iter("{*}*")]
    foreign = random.choice((*PREFIXES.values(), "urn:foreign"))
    tag = random.choice((random.choice(others), qname(foreign, local), f"{local}", f"{{{namespace}}}Other"))
    element.tag = tag if tag != "{}Other" else "Other"


def _set_text(element: etree._Element, random: Random) -> None:
    element.text = random.choice(_ODD_TEXTS)


def _pad(element: etree._Element, random: Random) -> None:
    element.text = f"\n\t {element.text or ''} \r\n"


def _set_attribute(element: etree._Element, random: Random) -> None:
    names = [str(name) for name in element.attrib] + [
        qname(SOAP, "mustUnderstand"),
        qname(SOAP, "role"),
        qname(XML, "lang"),
        "RelationshipType",
        "MatchBy",
        "Dialect",
        "Type",
        "href",
    ]
    value = random.choice((*_ODD_TEXTS, "1", f"{SOAP}/role/next", f"{SOAP}/role/none"))
    element.set(random.choice(names), value)


def _drop_attribute(element: etree._Element, random: Random) -> None:
    if element.attrib:
        del element.attrib[random.choice(list(element.attrib))]


def _nest(element: etree._Element, random: Random) -> None:
    for _ in range(random.choice((1, 3, _MOST_NESTED))):
        inner = etree.Element(element.tag)
        inner.extend(list(element))
        inner.text, element.text = element.text, None
        element.append(inner)
        element = inner


_TREE: Final[Sequence[Tree]] = (
    _drop,
    _repeat,
    _move,
    _rename,
    _set_text,
    _set_text,
    _pad,
    _set_attribute,
    _drop_attribute,
    _nest,
)


# Texts --------------------------------------------------------------------------------------------------


def _insert(data: bytes, random: Random) -> bytes:
    """Put something between two tags, or into one."""
    places = [found.start() for found in _TAG_END.finditer(data)]
    if not places:
        return mutate_octets(data, random)
    at = random.choice(places) + random.randrange(2)
    return data[:at] + random.choice(_ODD_INSERTS) + data[at:]


def _rename_prefix(data: bytes, random: Random) -> bytes:
    """Give a prefix another name, wherever it stands or at its declaration alone."""
    prefixes = _DECLARATION.findall(data)
    if not prefixes:
        return data
    old = random.choice(prefixes)
    new = random.choice((b"x", b"xml", b"xmlns", b"_", random.choice(prefixes)))
    if random.randrange(2):
        return data.replace(b"xmlns:" + old + b"=", b"xmlns:" + new + b"=")
    return re.sub(rb"\b%b(?=[:=])" % re.escape(old), new, data)


def _rename_namespace(data: bytes, random: Random) -> bytes:
    """Bind every prefix of a namespace to another one, or to none."""
    uris = re.findall(rb'xmlns(?::\w+)?="([^"]*)"', data)
    if not uris:
        return data
    foreign = (random.choice(uris), b"", b"urn:foreign", b"not a uri", b"http")
    return data.replace(b'"%b"' % random.choice(uris), b'"%b"' % random.choice(foreign))


def _recode(data: bytes, random: Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(random.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-32")))


def _declare(data: bytes, random: Random) -> bytes:
    encoding = random.choice((b"utf-8", b"UTF-16", b"latin-1", b"utf-7", b"x"))
    return random.choice((b"", b"\n", b" ")) + b'<?xml version="1.0" encoding="%b"?>' % encoding + data


_TEXTUAL: Final[Sequence[Callable[[bytes, Random], bytes]]] = (
    mutate_octets,
    _insert,
    _insert,
    _rename_prefix,
    _rename_namespace,
    _recode,
    _declare,
)

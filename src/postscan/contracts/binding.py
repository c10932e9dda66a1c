"""Binds dataclasses to elements: a message is declared once and read and written from that.

A class decorated with :func:`element` names its element; its fields say where each value lives, in schema
order. Reading trims white space (peers wrap URIs in newlines, spec README trap 7) and trusts that the element
was validated before; what still does not fit raises InvalidArgument naming the element.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self, TypeVar, cast, dataclass_transform

from lxml import etree

from postscan.contracts.codecs import (
    BOOLEAN,
    BOOLEAN_OR_EMPTY,
    DATE_TIME,
    INTEGER,
    NAME,
    QNAME,
    STRING,
    Codec,
    keyword,
)
from postscan.core.errors import InvalidArgument
from postscan.soap.names import PREFIX_OF, display_name, qname, split_qname
from postscan.soap.xml import WHITE_SPACE, detached_copy

__all__ = [
    "BOOLEAN",
    "DATE_TIME",
    "INTEGER",
    "NAME",
    "QNAME",
    "STRING",
    "Bound",
    "Codec",
    "attribute",
    "child",
    "children",
    "content",
    "element",
    "flag",
    "flag_attribute",
    "keyword",
    "raw",
    "text",
    "texts",
]

_C = TypeVar("_C", bound="type[Bound]")
_META = "postscan.binding"
_REQUIRED = dataclasses.MISSING


class _Kind(StrEnum):
    TEXT = "text"
    TEXTS = "texts"
    CHILD = "child"
    CHILDREN = "children"
    ATTRIBUTE = "attribute"
    CONTENT = "content"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class _Part:
    """Where one field lives: a child element (``local``), an attribute (Clark name), or the element's text.

    ``wrapper`` is the child that holds repeated elements or carries the attribute, ``each`` one that every
    single repeated element stands in.
    """

    kind: _Kind
    local: str = ""
    codec: Codec = STRING
    target: type[Bound] | None = None
    wrapper: str | None = None
    each: str | None = None
    namespace: str | None = None
    omit_false: bool = False


def _field(part: _Part, default: Any) -> Any:
    if default is _REQUIRED:
        return dataclasses.field(metadata={_META: part})
    return dataclasses.field(default=default, metadata={_META: part})


def text(local: str, codec: Codec = STRING, *, default: Any = _REQUIRED, namespace: str | None = None) -> Any:
    """Declare a child element that holds one value."""
    return _field(_Part(_Kind.TEXT, local, codec, namespace=namespace), default)


def texts(
    local: str,
    codec: Codec = STRING,
    *,
    wrapper: str | None = None,
    default: Any = _REQUIRED,
    namespace: str | None = None,
) -> Any:
    """Declare repeated child elements that hold one value each, as a tuple.

    With ``wrapper`` they stand inside one element of that name, left out when the tuple is empty and has
    a default.
    """
    return _field(_Part(_Kind.TEXTS, local, codec, wrapper=wrapper, namespace=namespace), default)


def flag(local: str, *, default: bool, namespace: str | None = None) -> Any:
    """Declare a child element that holds a truth value: false when absent or empty, written only if true."""
    part = _Part(_Kind.TEXT, local, BOOLEAN_OR_EMPTY, namespace=namespace, omit_false=True)
    return _field(part, default)


def child(local: str, target: type[Bound], *, default: Any = _REQUIRED) -> Any:
    """Declare a child element bound to another class; the child's name is ``local``, in this namespace."""
    return _field(_Part(_Kind.CHILD, local, target=target), default)


def children(
    local: str,
    target: type[Bound],
    *,
    wrapper: str | None = None,
    each: str | None = None,
    default: Any = _REQUIRED,
) -> Any:
    """Declare repeated child elements bound to another class, as a tuple.

    With ``wrapper`` all stand inside one element of that name, with ``each`` every one in its own.
    """
    return _field(_Part(_Kind.CHILDREN, local, target=target, wrapper=wrapper, each=each), default)


def attribute(clark: str, codec: Codec = STRING, *, default: Any = _REQUIRED) -> Any:
    """Declare an attribute by its Clark name."""
    return _field(_Part(_Kind.ATTRIBUTE, clark, codec), default)


def flag_attribute(clark: str, *, default: bool, on: str | None = None) -> Any:
    """Declare an attribute that holds a truth value: false when absent, written only if true.

    ``on`` names the child element that carries it, one that an earlier field writes.
    """
    return _field(_Part(_Kind.ATTRIBUTE, clark, BOOLEAN, wrapper=on, omit_false=True), default)


def content(codec: Codec = STRING) -> Any:
    """Declare the text of the element itself."""
    return _field(_Part(_Kind.CONTENT, codec=codec), _REQUIRED)


def raw(local: str, *, default: Any = _REQUIRED, namespace: str | None = None) -> Any:
    """Declare a child element that is kept as it is (an lxml element, still in the tree it was read from)."""
    return _field(_Part(_Kind.RAW, local, namespace=namespace), default)


@dataclass_transform(
    kw_only_default=True,
    frozen_default=True,
    field_specifiers=(text, texts, flag, child, children, attribute, flag_attribute, content, raw),
)
def element(namespace: str, local: str, *, keeps_source: bool = False) -> Callable[[_C], _C]:
    """Make a class a frozen dataclass bound to the element ``{namespace}local``.

    With ``keeps_source`` a value that was read remembers its element and is written as that was, so that
    what no field stands for (extensions of vendors) is not lost.
    """

    def bind(cls: _C) -> _C:
        bound = cast(_C, dataclass(frozen=True, kw_only=True)(cls))
        bound.TAG = qname(namespace, local)
        bound.NAMESPACE = namespace
        bound.KEEPS_SOURCE = keeps_source
        return bound

    return bind


class Bound:
    """A value bound to an element."""

    TAG: ClassVar[str]
    NAMESPACE: ClassVar[str]
    KEEPS_SOURCE: ClassVar[bool]

    @property
    def source(self) -> etree._Element | None:
        """The element this value was read from, where its class keeps it; None for a value made here."""
        return cast("etree._Element | None", self.__dict__.get("_source"))

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read the value; raises InvalidArgument naming what is missing or malformed."""
        values: dict[str, Any] = {}
        for name, part, required in _parts_of(cls):
            found = _read_part(cls, part, source)
            if found is not None:
                values[name] = found
            elif required:
                local = part.wrapper or part.local
                raise InvalidArgument(f"{local} is missing in {source.tag!s}", detail=_display(cls, local))
        value = cls(**values)
        if cls.KEEPS_SOURCE:
            # Not a field: dataclasses.replace() must not carry the element over to a changed value.
            object.__setattr__(value, "_source", source)
        return value

    def to_element(self, parent: etree._Element | None = None, tag: str | None = None) -> etree._Element:
        """Write the value, as a child of ``parent`` if given, under the name ``tag`` if given."""
        name = tag or self.TAG
        if self.source is not None:
            return _copy_into(parent, name, self.source)
        cls = type(self)
        written = [
            (part, value)
            for field_name, part, required in _parts_of(cls)
            if not _left_out(part, value := getattr(self, field_name), required)
        ]
        prefixes = {PREFIX_OF[cls.NAMESPACE]: cls.NAMESPACE}
        for part, value in written:
            if part.kind is _Kind.ATTRIBUTE and part.wrapper is None:
                prefixes |= part.codec.declare(value)
        node = _new(parent, name, prefixes)
        for part, value in written:
            _write_part(cls, part, value, node)
        return node


_PARTS: dict[type[Any], list[tuple[str, _Part, bool]]] = {}


def _parts_of(cls: type[Bound]) -> list[tuple[str, _Part, bool]]:
    """Return name, place and whether it is required of every field, in schema order."""
    known = _PARTS.get(cls)
    if known is not None:
        return known
    parts = [
        (field.name, field.metadata[_META], field.default is _REQUIRED)
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]  # every subclass is made one by @element
    ]
    _PARTS[cls] = parts
    return parts


def _left_out(part: _Part, value: Any, required: bool) -> bool:
    return value is None or (not required and value == ()) or (part.omit_false and value is False)


def _new(parent: etree._Element | None, tag: str, prefixes: dict[str, str]) -> etree._Element:
    if parent is None:
        return etree.Element(tag, nsmap=prefixes)
    return etree.SubElement(parent, tag, nsmap=prefixes)


def _copy_into(parent: etree._Element | None, tag: str, source: etree._Element) -> etree._Element:
    """Copy ``source``, with all prefixes its values may use, as an element named ``tag``."""
    twin = detached_copy(source)
    prefixes: dict[str | None, str] = dict(twin.nsmap)
    namespace = split_qname(tag)[0]
    if namespace in PREFIX_OF and namespace not in prefixes.values():
        prefixes.setdefault(PREFIX_OF[namespace], namespace)
    if parent is None:
        node = etree.Element(tag, nsmap=prefixes)
    else:
        node = etree.SubElement(parent, tag, nsmap=prefixes)
    for name, value in twin.attrib.items():
        node.set(name, value)
    node.text = twin.text
    node.extend(list(twin))
    return node


def _display(cls: type[Bound], local: str) -> str:
    return display_name(
        local if local.startswith("{") else qname(cls.NAMESPACE, local or split_qname(cls.TAG)[1])
    )


def _value(cls: type[Bound], part: _Part, node: etree._Element, text_found: str | None) -> Any:
    try:
        return part.codec.read((text_found or "").strip(WHITE_SPACE), node)
    except ValueError as error:
        name = _display(cls, part.local)
        raise InvalidArgument(f"{name} does not hold a valid value", detail=name) from error


def _tag(cls: type[Bound], part: _Part) -> str:
    return qname(part.namespace or cls.NAMESPACE, part.local)


def _read_part(cls: type[Bound], part: _Part, source: etree._Element) -> Any:
    holder = source
    if part.wrapper is not None:
        wrapper = source.find(qname(cls.NAMESPACE, part.wrapper))
        if wrapper is None:
            return None
        holder = wrapper
    if part.kind is _Kind.CONTENT:
        return _value(cls, part, source, source.text)
    if part.kind is _Kind.ATTRIBUTE:
        found = holder.get(part.local)
        return None if found is None else _value(cls, part, holder, found)
    tag = _tag(cls, part)
    if part.kind in (_Kind.TEXTS, _Kind.CHILDREN):
        return _read_repeated(cls, part, holder, tag)
    node = holder.find(tag)
    if node is None or part.kind is _Kind.RAW:
        return node
    return _read_one(cls, part, node)


def _read_repeated(cls: type[Bound], part: _Part, holder: etree._Element, tag: str) -> Any:
    path = tag if part.each is None else f"{qname(cls.NAMESPACE, part.each)}/{tag}"
    nodes = holder.findall(path)
    if not nodes and part.wrapper is None:
        return None
    return tuple(_read_one(cls, part, node) for node in nodes)


def _read_one(cls: type[Bound], part: _Part, node: etree._Element) -> Any:
    return _value(cls, part, node, node.text) if part.target is None else part.target.from_element(node)


def _write_part(cls: type[Bound], part: _Part, value: Any, node: etree._Element) -> None:
    if part.kind is _Kind.CONTENT:
        node.text = part.codec.write(value, node)
        return
    if part.kind is _Kind.ATTRIBUTE:
        carrier = node if part.wrapper is None else node.find(qname(cls.NAMESPACE, part.wrapper))
        if carrier is not None:
            carrier.set(part.local, part.codec.write(value, carrier))
        return
    if part.kind is _Kind.RAW:
        # A copy: appending would move the element out of the tree it was read from.
        _copy_into(node, str(value.tag), value)
        return
    holder = node if part.wrapper is None else etree.SubElement(node, qname(cls.NAMESPACE, part.wrapper))
    for item in value if part.kind in (_Kind.TEXTS, _Kind.CHILDREN) else (value,):
        one = holder if part.each is None else etree.SubElement(holder, qname(cls.NAMESPACE, part.each))
        _write_one(part, _tag(cls, part), item, one)


def _write_one(part: _Part, tag: str, item: Any, holder: etree._Element) -> None:
    if part.target is not None:
        item.to_element(holder, tag)
        return
    leaf = _new(holder, tag, part.codec.declare(item))
    leaf.text = part.codec.write(item, leaf)

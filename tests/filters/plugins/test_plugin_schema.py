"""The schema of a filter of another package: what it must be, and that it reaches for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from postscan.core.errors import ConfigurationError
from postscan.filters.checked import InstructionsSchema
from postscan.soap.names import PSP
from postscan.soap.xml import parse

DIALECT = "urn:example:tray"
XSD = f"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="{DIALECT}"
    elementFormDefault="qualified"> %s
  <xs:element name="TrayConfig"><xs:complexType><xs:sequence>
    <xs:element name="Depth" type="xs:unsignedByte"/>
  </xs:sequence></xs:complexType></xs:element>
</xs:schema>"""


def instructions(content: str) -> bytes:
    return f'<p:Instructions xmlns:p="{PSP}" xmlns:t="{DIALECT}">\n{content}\n</p:Instructions>'.encode()


def schema(more: str = "") -> InstructionsSchema:
    return InstructionsSchema((XSD % more).encode(), DIALECT)


def test_instructions_that_fit_have_no_violation() -> None:
    fit = instructions("<t:TrayConfig><t:Depth>3</t:Depth></t:TrayConfig>")
    assert schema().violations(parse(fit)) == []


@pytest.mark.parametrize(
    ("content", "line", "detail"),
    [
        ("", 1, "psp:Instructions"),
        ("\n<t:TrayConfig/>", 3, "Depth"),
        ("<t:TrayConfig>\n<t:Depth>deep</t:Depth></t:TrayConfig>", 3, "Depth"),
        ("<t:TrayConfig><t:Depth>3</t:Depth><t:Width/></t:TrayConfig>", 2, "Width"),
        ("<t:Other/>", 2, "Other"),
        ("<TrayConfig/>", 2, "TrayConfig"),
        ("<p:Filter/>", 2, "psp:Filter"),
    ],
)
def test_what_does_not_fit_is_told_with_line_and_element(content: str, line: int, detail: str) -> None:
    first = schema().violations(parse(instructions(content)))[0]
    assert (first.line, first.detail) == (line, detail)


@pytest.mark.parametrize(
    ("xsd", "message"),
    [
        (b"<a", "its schema is refused: not well-formed"),
        (b"<!DOCTYPE a><a/>", "document type declaration"),
        ((XSD % "").replace(DIALECT, "urn:example:box").encode(), "is for 'urn:example:box'"),
        ((XSD % "<xs:element/>").encode(), "its schema is none"),
    ],
)
def test_what_is_no_schema_of_the_dialect_is_refused(xsd: bytes, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        InstructionsSchema(xsd, DIALECT)


@pytest.mark.parametrize("element", ["include", "import", "redefine", "override"])
@pytest.mark.parametrize("location", ["file", "http://127.0.0.1:1/other.xsd", None])
def test_a_schema_that_reaches_for_another_is_refused(
    tmp_path: Path, element: str, location: str | None
) -> None:
    other = tmp_path / "other.xsd"
    other.write_text(XSD % "")
    place = other.as_uri() if location == "file" else location
    more = f"<xs:{element}{f' schemaLocation={place!r}' if place else ''}/>"
    with pytest.raises(ConfigurationError, match="it must stand alone"):
        schema(more)


def test_instructions_cannot_name_a_schema_of_their_own(tmp_path: Path) -> None:
    """A hint of an instance is not followed: it neither widens the schema nor is a file opened for it."""
    wider = tmp_path / "wider.xsd"
    wider.write_text((XSD % "").replace("unsignedByte", "string"))
    hint = (
        f'xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:schemaLocation="{DIALECT} {wider.as_uri()}"'
    )
    wrong = instructions(f"<t:TrayConfig {hint}><t:Depth>deep</t:Depth></t:TrayConfig>")
    assert [one.detail for one in schema().violations(parse(wrong))] == ["Depth"]
    missing = wrong.replace(b"wider.xsd", b"missing.xsd")
    assert [one.detail for one in schema().violations(parse(missing))] == ["Depth"]

"""Instructions of the names filter: read, written, and as the schema has them."""

from __future__ import annotations

import pytest
from lxml import etree

from postscan.contracts.names import BarcodeChoice, BarcodeKind, BarcodePage, NamesConfig
from postscan.contracts.schemas import validate
from postscan.core.errors import InvalidArgument
from postscan.soap.names import NAMES, qname
from postscan.soap.xml import parse

FULL = NamesConfig(
    template="{root}_{barcode|none}",
    counter="invoices",
    barcode=BarcodeChoice(
        kinds=(BarcodeKind.QR_CODE, BarcodeKind.EAN_13),
        pattern="INV-([0-9]{8})",
        page=BarcodePage.FIRST_OF_DOCUMENT,
    ),
)


def config(inner: str) -> etree._Element:
    return parse(f"<names:NamesConfig xmlns:names='{NAMES}'>{inner}</names:NamesConfig>".encode())


def test_what_is_written_is_valid_and_read_again_as_it_was() -> None:
    written = FULL.to_element()
    validate(written)
    assert NamesConfig.from_element(written) == FULL


def test_a_template_alone_is_enough() -> None:
    alone = config("<names:Template> {root}\n</names:Template>")
    validate(alone)
    assert NamesConfig.from_element(alone) == NamesConfig(template="{root}")


def test_a_barcode_without_choices_means_any_on_the_first_page_of_the_job() -> None:
    read = NamesConfig.from_element(config("<names:Template>{root}</names:Template><names:Barcode/>"))
    assert read.barcode == BarcodeChoice(kinds=(), pattern=None, page=BarcodePage.FIRST_OF_JOB)


@pytest.mark.parametrize("kind", list(BarcodeKind), ids=str)
def test_the_schema_has_every_kind(kind: BarcodeKind) -> None:
    validate(NamesConfig(template="x", barcode=BarcodeChoice(kinds=(kind,))).to_element())


@pytest.mark.parametrize("page", list(BarcodePage), ids=str)
def test_the_schema_has_every_place(page: BarcodePage) -> None:
    validate(NamesConfig(template="x", barcode=BarcodeChoice(page=page)).to_element())


@pytest.mark.parametrize(
    ("inner", "detail"),
    [
        ("", "names:Template"),
        ("<names:Template/>", "names:Template"),
        (f"<names:Template>{'x' * 1001}</names:Template>", "names:Template"),
        ("<names:Template>x</names:Template><names:Counter/>", "names:Counter"),
        ("<names:Template>x</names:Template><names:Other/>", "names:Other"),
        (
            "<names:Template>x</names:Template><names:Barcode><names:Kind>Code129</names:Kind></names:Barcode>",
            "names:Kind",
        ),
        (
            "<names:Template>x</names:Template><names:Barcode><names:Pattern/></names:Barcode>",
            "names:Pattern",
        ),
    ],
    ids=["no template", "empty", "long", "no counter", "unknown", "no such kind", "no pattern"],
)
def test_the_schema_refuses_what_is_wrong_by_its_element(inner: str, detail: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        validate(config(inner))
    assert caught.value.detail == detail


def test_vendors_may_add_elements_of_their_own() -> None:
    added = config("<names:Template>x</names:Template><v:Own xmlns:v='urn:vendor'/>")
    validate(added)
    assert etree.QName(added[1]).namespace == "urn:vendor"
    assert added[0].tag == qname(NAMES, "Template")

"""Another ScanRepository in a scan process that somebody else wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postscan.contracts.psp import read_process
from postscan.contracts.psp_changes import content_changes
from postscan.contracts.psp_editing import characters_of, with_scan_repository
from postscan.core.errors import InvalidArgument
from postscan.soap.names import PSP
from postscan.soap.xml import XmlRefused
from testdomain.foreign import FOREIGN_XML

OLD = "scansrv.dsm.test"
NEW = "scan2.example.org"


def repository(xml: bytes) -> str:
    return read_process(xml).scan_repository.strip()


def test_only_the_name_of_the_server_changes() -> None:
    changed = with_scan_repository(FOREIGN_XML, NEW)
    before = f"<ScanRepository>{OLD}<".encode()
    assert changed == FOREIGN_XML.replace(before, f"<ScanRepository>{NEW}<".encode())
    assert repository(changed) == NEW


def test_changing_it_back_gives_the_same_octets() -> None:
    assert with_scan_repository(with_scan_repository(FOREIGN_XML, NEW), OLD) == FOREIGN_XML


@pytest.mark.parametrize(
    "written",
    [
        "<ScanRepository>\r\n\t scansrv.dsm.test \n</ScanRepository>",
        "<ScanRepository ><![CDATA[scansrv.dsm.test]]></ScanRepository >",
        "<ScanRepository>scan<!-- </ScanRepository> -->srv.dsm.test</ScanRepository>",
        "<!-- <ScanRepository>other</ScanRepository> --><ScanRepository>scansrv.dsm.test</ScanRepository>",
        "<?note <ScanRepository>?><ScanRepository>scansrv.dsm.test</ScanRepository>",
        "<w:ScanRepository xmlns:w='{psp}'>scansrv.dsm.test</w:ScanRepository>",
    ],
)
def test_the_value_is_found_however_it_is_written(written: str) -> None:
    text = FOREIGN_XML.decode()
    plain = f"<ScanRepository>{OLD}</ScanRepository>"
    before, after = text.split(plain)
    xml = f"{before}{written.replace('{psp}', PSP)}{after}".encode()
    assert repository(xml) == OLD
    changed = with_scan_repository(xml, NEW)
    assert repository(changed) == NEW
    assert changed.startswith(before.encode())
    assert changed.endswith(after.encode())


def test_attributes_that_look_like_tags_do_not_mislead() -> None:
    xml = FOREIGN_XML.replace(
        b"v:revision='17'", b"v:a='/>' v:b=\"it's></PostScanProcess>\" v:c='<!--'".replace(b"<", b"&lt;")
    )
    assert with_scan_repository(xml, NEW) == xml.replace(b">scansrv.dsm.test<", f">{NEW}<".encode(), 1)


def test_a_stranger_element_of_the_same_name_is_left_alone() -> None:
    extended = FOREIGN_XML.replace(b"<v:Owner>", b"<v:ScanRepository>x</v:ScanRepository><v:Owner>")
    extended = extended.replace(b"<v:Console>", b"<v:ScanRepository>y</v:ScanRepository><v:Console>")
    changed = with_scan_repository(extended, NEW)
    assert b"<v:ScanRepository>x<" in changed
    assert b"<v:ScanRepository>y<" in changed
    assert repository(changed) == NEW


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_the_encoding_stays(codec: str) -> None:
    text = FOREIGN_XML.decode().replace("encoding='UTF-8' ", "")
    changed = with_scan_repository(text.encode(codec), NEW)
    assert changed == text.replace(OLD, NEW, 1).encode(codec)
    assert characters_of(changed) == text.replace(OLD, NEW, 1)


@pytest.mark.parametrize("name", ["", "a b", "x<y", "a&b", "x" * 256, "a\n", "host/path"])
def test_what_is_no_name_of_a_server_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        with_scan_repository(FOREIGN_XML, name)


def test_a_document_without_a_server_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        with_scan_repository(b"<PostScanProcess/>", NEW)


def test_a_document_type_declaration_is_refused() -> None:
    with pytest.raises(XmlRefused):
        with_scan_repository(b"<!DOCTYPE a>" + FOREIGN_XML.partition(b"?>")[2], NEW)


@settings(max_examples=300)
@given(
    st.text("<>/!-?[]'\"= axCDATA&;\n", max_size=60),
    st.sampled_from(["<v:Owner>{}</v:Owner>", "<v:Owner {}/>", "<!--{}-->", "<?p {}?>", "<![CDATA[{}]]>"]),
)
def test_whatever_stands_around_it_stays_as_it_is(inside: str, form: str) -> None:
    plain = f"<ScanRepository>{OLD}</ScanRepository>".encode()
    for place in (FOREIGN_XML.index(plain) + len("<ScanRepository>"), FOREIGN_XML.index(b"<v:Console>")):
        xml = FOREIGN_XML[:place] + form.replace("{}", inside).encode() + FOREIGN_XML[place:]
        try:
            read_process(xml)
        except (XmlRefused, InvalidArgument):
            continue
        changed = with_scan_repository(xml, NEW)
        assert repository(changed) == NEW
        assert [change.path for change in content_changes(xml, changed)] == ["psp:ScanRepository"]
        assert with_scan_repository(changed, NEW) == changed

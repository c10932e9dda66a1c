"""What differs between two writings of a scan process."""

from __future__ import annotations

import pytest

from postscan.contracts.psp import read_process, write_process
from postscan.contracts.psp_changes import MAX_CHANGES, ContentChange, content_changes
from postscan.soap.xml import XmlRefused
from testdomain.foreign import FOREIGN_XML

PLAIN = FOREIGN_XML.decode()


def changed(old: str, new: str) -> list[ContentChange]:
    assert old in PLAIN
    return content_changes(FOREIGN_XML, PLAIN.replace(old, new, 1).encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\r\n", "\n"),
        ("<!-- Office console 4.2 -->", ""),
        ("xmlns='http", " xmlns='http"),
        ("<s:JobName><![CDATA[Paper & more]]></s:JobName>", "<s:JobName>Paper &amp; more</s:JobName>"),
        ("Gr&#xFC;&#223;e", "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e"),
        ("sheet='none'", 'sheet="none"'),
        ("<s:JobOriginatingUserName/>", "<s:JobOriginatingUserName></s:JobOriginatingUserName>"),
    ],
)
def test_another_way_of_writing_is_no_difference(old: str, new: str) -> None:
    assert changed(old, new) == []


def test_what_we_write_of_a_process_says_what_it_said() -> None:
    ours = write_process(read_process(FOREIGN_XML))
    assert ours != FOREIGN_XML
    assert content_changes(ours, write_process(read_process(ours))) == []


def test_another_prefix_in_a_value_is_no_difference() -> None:
    old = PLAIN.replace("<v:Owner>Office<", "<v:Owner>v:Office<")
    new = old.replace("v:Office<", "w:Office<").replace(
        "<v:Console>", '<v:Console xmlns:w="urn:example:office-console">'
    )
    assert content_changes(old.encode(), new.encode()) == []


def test_a_changed_text_is_told_with_its_place() -> None:
    assert changed(">200</t:Width>", ">300</t:Width>") == [
        ContentChange(
            "psp:ScanTicket/wscn:DocumentParameters/wscn:MediaSides/wscn:MediaFront/wscn:Resolution/wscn:Width",
            "200",
            "300",
        )
    ]


def test_a_changed_attribute_is_told() -> None:
    [change] = changed("sheet='none'", "sheet='first'")
    assert change == ContentChange("psp:PostScanInstructions/Cover/@sheet", "none", "first")


def test_an_attribute_of_the_root_is_told() -> None:
    assert changed("v:revision='17'", "") == [ContentChange("@revision", "17", None)]


def test_new_and_missing_elements_are_told() -> None:
    share = "<ShareUNC>\\\\scansrv.dsm.test\\scans</ShareUNC>"
    [change] = changed(share, share + share.replace("scans<", "more<"))
    assert change.path.endswith("fsf:FileShares/fsf:ShareUNC[2]")
    assert (change.before, change.after) == (None, "\\\\scansrv.dsm.test\\more")
    [change] = changed("<v:Cover sheet='none'/>", "")
    assert (change.before, change.after) == ("", None)


def test_another_order_is_told() -> None:
    [change] = changed(
        "<t:Format>pdf-a</t:Format><t:InputSource>ADF</t:InputSource>",
        "<t:InputSource>ADF</t:InputSource><t:Format>pdf-a</t:Format>",
    )
    assert change.path == "psp:ScanTicket/wscn:DocumentParameters"
    assert change.after is not None
    assert change.after.startswith("in this order: wscn:InputSource, wscn:Format")


def test_text_that_moves_between_elements_is_told() -> None:
    one = PLAIN.replace("<v:Console>", "<v:Console>x").encode()
    other = PLAIN.replace("</v:Console>", "x</v:Console>").encode()
    assert [change.path for change in content_changes(one, other)] == ["Console"]


def test_long_texts_and_many_changes_are_cut_short() -> None:
    many = "".join(f"<v:n{number}>{'x' * 500}</v:n{number}>" for number in range(2 * MAX_CHANGES))
    changes = changed("<v:Console>", f"<v:Console>{many}")
    assert len(changes) == MAX_CHANGES
    assert all(len(change.after or "") <= 120 for change in changes)


def test_names_of_any_length_cost_no_more_than_they_are_long() -> None:
    # Ten thousand children below a name of forty thousand letters: paths must not repeat it all.
    name = "n" * 40_000
    inside = "<v:a/>" * 10_000
    other = inside + "<v:b/>"
    one, two = (
        PLAIN.replace("<v:Console>", f"<v:{name}>{text}</v:{name}><v:Console>").encode()
        for text in (inside, other)
    )
    [change] = content_changes(one, two)
    assert len(change.path) < 200


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(XmlRefused):
        content_changes(FOREIGN_XML, b"<!DOCTYPE a><a/>")

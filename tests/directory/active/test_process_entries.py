"""Objects of scan processes as a search returns them: what can be used, and what is said of the rest."""

from __future__ import annotations

import codecs
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postscan.contracts.psp import read_process
from postscan.directory.active.descriptor_octets import write_descriptor
from postscan.directory.active.descriptors import new_descriptor
from postscan.directory.active.process_entries import (
    EntryProblem,
    UnusableEntry,
    by_age,
    document,
    read_entry,
    stored_text,
)
from postscan.directory.active.process_reading import group_names, user_names
from postscan.directory.drafts import code_units
from postscan.directory.ldap.model import Entry
from testdomain.foreign import FOREIGN_XML
from testdomain.processes import own_xml

IDENTIFIER = UUID("6f2c3b1e-5a0d-4c1b-9a63-0d2f5a4b7c11")
DN = "CN=x,CN=PSPs,CN=System,DC=dsm,DC=test"
RIGHTS = write_descriptor(new_descriptor(["S-1-5-21-1-2-3-1103"], "S-1-5-21-1-2-3", None))
WHOLE: dict[str, list[bytes]] = {
    "objectGUID": [bytes(16)],
    "displayName": ["Grüße".encode()],
    "msImaging-PSPIdentifier": [IDENTIFIER.bytes_le],
    "msImaging-PSPString": [own_xml("Letters")],
    "serverName": [b"scansrv.dsm.test"],
    "nTSecurityDescriptor": [RIGHTS],
}


def entry(**changed: bytes | None) -> Entry:
    """Return an entry with some values replaced (``__`` stands for a hyphen), or left out."""
    values = dict(WHOLE)
    for name, value in changed.items():
        if value is None:
            del values[name.replace("__", "-")]
        else:
            values[name.replace("__", "-")] = [value]
    return Entry(DN, values)


def test_an_object_is_read_as_it_stands() -> None:
    read = read_entry(entry())
    assert read is not None
    assert (read.identifier, read.display_name, read.server) == (IDENTIFIER, "Grüße", "scansrv.dsm.test")
    assert read.xml == own_xml("Letters")
    assert read.descriptor is not None
    assert read.descriptor.grants == {"S-1-5-21-1-2-3-1103"}


def test_a_bare_name_is_no_process_and_no_problem() -> None:
    assert read_entry(Entry(DN, {})) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"msImaging__PSPIdentifier": b"short"}, "5 octets where a GUID has 16"),
        ({"msImaging__PSPString": None}, "has no msImaging-PSPString"),
        ({"displayName": None}, "has no displayName"),
        ({"msImaging__PSPString": b"<no"}, "is no scan process"),
        ({"msImaging__PSPString": b"<no/>"}, "is no scan process"),
        ({"msImaging__PSPString": b"\xff\xfe"}, "is no scan process"),
        ({"nTSecurityDescriptor": RIGHTS[:-1]}, "nTSecurityDescriptor"),
    ],
)
def test_what_cannot_be_used_says_why(changed: dict[str, bytes | None], words: str) -> None:
    with pytest.raises(UnusableEntry, match=words):
        read_entry(entry(**changed))
    assert str(EntryProblem(DN, words)) == f"{DN}: {words}"


def test_rights_that_may_not_be_read_are_none() -> None:
    read = read_entry(entry(nTSecurityDescriptor=None))
    assert read is not None
    assert read.descriptor is None


@pytest.mark.parametrize(
    "changed",
    [
        {"displayName": b"Other"},
        {"msImaging__PSPString": own_xml("Letters") + b"\n"},
        {"serverName": b"other.dsm.test"},
        {"serverName": None},
        {"nTSecurityDescriptor": write_descriptor(new_descriptor([], "S-1-5-21-1-2-3", None))},
        {"objectGUID": bytes(range(16))},
    ],
)
def test_every_change_makes_another_version(changed: dict[str, bytes | None]) -> None:
    before, after = read_entry(entry()), read_entry(entry(**changed))
    assert before is not None
    assert after is not None
    assert after.version != before.version


def test_the_oldest_comes_first() -> None:
    made = [Entry(dn, {"whenCreated": [when]}) for dn, when in (("b", b"2"), ("a", b"2"), ("c", b"1"))]
    assert [one.dn for one in by_age(made)] == ["c", "a", "b"]


def test_a_sid_that_is_nobodys_stands_for_itself() -> None:
    sids = ["S-1-1-0", "S-1-5-11", "S-1-5-21-1-2-3-9"]
    assert user_names(sids, {}) == {"S-1-5-21-1-2-3-9"}
    assert group_names(sids, {}) == {"Everyone"}


@pytest.mark.parametrize(
    "xml",
    [
        own_xml("Letters"),
        FOREIGN_XML,
        codecs.BOM_UTF8 + own_xml("Letters"),
        own_xml("Letters").replace(b"utf-8", b"US-ASCII", 1).replace(b"UTF-8", b"US-ASCII", 1),
        b"<a encoding='utf-16'/>",
        "<?xml version='1.0'?><a>encoding='x' 契約</a>".encode(),
    ],
)
def test_xml_that_readers_understand_is_not_touched(xml: bytes) -> None:
    assert document(xml) == stored_text(xml) == xml


@pytest.mark.parametrize("encoding", ["utf-16", "UTF-16LE", "ISO-8859-1", "windows-1252"])
def test_a_declared_encoding_that_is_not_so_is_corrected(encoding: str) -> None:
    start, rest = f'<?xml version="1.0" encoding="{encoding}" ?>', own_xml("Grüße").partition(b"?>")[2]
    corrected = document(start.encode() + rest)
    assert corrected == b'<?xml version="1.0" encoding="utf-8" ?>' + rest
    read_process(corrected)


@pytest.mark.parametrize("order", ["utf-16", "utf-16-be"])
def test_a_document_in_utf_16_is_stored_as_its_characters(order: str) -> None:
    text = own_xml("Grüße").decode().replace("utf-8", "utf-16", 1).replace("UTF-8", "utf-16", 1)
    octets = text.encode(order)
    octets = octets if order == "utf-16" else codecs.BOM_UTF16_BE + octets
    assert stored_text(octets).partition(b"?>")[2] == own_xml("Grüße").partition(b"?>")[2]
    assert code_units(octets) == len(text)


@given(
    st.binary(max_size=400)
    | st.text(max_size=300).map(lambda text: f'<?xml encoding="{text}'.encode(errors="replace"))
    | st.text(max_size=300).map(lambda text: f'<?xml encoding="latin1"{text}'.encode(errors="replace"))
)
@example(b'<?xml encoding="' + b"0" * 239 + "é".encode())
def test_any_octets_are_made_a_document_once(octets: bytes) -> None:
    made = document(octets)
    assert document(made) == made
    assert made.endswith(octets[256:])

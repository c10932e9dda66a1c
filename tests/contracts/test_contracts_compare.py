"""Abuse case 24: nothing in the instructions can be changed but what the process opens."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lxml import etree

from postscan.contracts import schemas
from postscan.contracts.compare import MAX_ADDED_ADDRESSES, Difference, differences
from postscan.contracts.dsp import CreatePostScanJobRequest
from postscan.contracts.psp import PostScanProcess, read_process
from postscan.soap.names import DSP, EMLF, FSF, PSP, SPF, SPX, WSCN, qname
from postscan.soap.xml import parse, serialize

INSTRUCTIONS = f"""
    <psp:ContinueOnError>true</psp:ContinueOnError>
    <psp:DocumentRootName>Invoice</psp:DocumentRootName>
    <psp:FiltersToProcess>
      <psp:Filter>
        <psp:Dialect>{FSF}</psp:Dialect>
        <psp:Instructions>
          <fsf:FileShareConfig><fsf:FileShares>
            <fsf:ShareUNC>\\\\files\\scans</fsf:ShareUNC>
            <fsf:ShareUNC>\\\\files\\copies</fsf:ShareUNC>
          </fsf:FileShares></fsf:FileShareConfig>
        </psp:Instructions>
      </psp:Filter>
      <psp:Filter>
        <psp:Dialect>{SPF}</psp:Dialect>
        <psp:Instructions>
          <spf:SharePointConfig>
            <spf:SaveToMySite>true</spf:SaveToMySite>
            <spf:SaveToSharePointSites>
              <spf:SaveToSharePointSiteURL>http://contoso/scans</spf:SaveToSharePointSiteURL>
            </spf:SaveToSharePointSites>
          </spf:SharePointConfig>
        </psp:Instructions>
      </psp:Filter>
      <psp:Filter v:priority="3">
        <psp:Dialect>{EMLF}</psp:Dialect>
        <psp:Instructions>
          <emlf:EmailConfig>
            <emlf:SendToScanUser>true</emlf:SendToScanUser>
            <emlf:SendToAddresses emlf:CanAddAddresses="ADD">
              <emlf:EmailAddress>ada@example.com</emlf:EmailAddress>
              <emlf:EmailAddress>bob@example.com</emlf:EmailAddress>
              <v:Subject lang="de">Neue <v:b>Rechnung</v:b> da</v:Subject>
            </emlf:SendToAddresses>
          </emlf:EmailConfig>
        </psp:Instructions>
      </psp:Filter>
    </psp:FiltersToProcess>
    <spx:AllowDeviceFileNameChange>NAME</spx:AllowDeviceFileNameChange>
    <spx:AllowDeviceFilePathChange>PATH</spx:AllowDeviceFilePathChange>
    <v:Cover kind="v:blank"> v:A4 </v:Cover>
"""
PREFIXES = {"psp": PSP, "fsf": FSF, "spf": SPF, "emlf": EMLF, "spx": SPX, "v": "urn:vendor"}
DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in PREFIXES.items())


def instructions_xml(*, add: bool = False, name: bool = False, path: bool = False) -> str:
    values = {"ADD": add, "NAME": name, "PATH": path}
    xml = INSTRUCTIONS
    for mark, value in values.items():
        xml = xml.replace(mark, "true" if value else "false")
    return xml


def stored_process(instructions: str, after: str = "") -> PostScanProcess:
    """Return a process with these instructions, ``after`` standing behind them."""
    xml = f"""<psp:PostScanProcess {DECLARED} xmlns:w="{WSCN}"><psp:ScanRepository>s</psp:ScanRepository>
      <psp:ScanTicket><w:JobDescription><w:JobName>J</w:JobName>
      <w:JobOriginatingUserName>U</w:JobOriginatingUserName></w:JobDescription></psp:ScanTicket>
      <psp:PostScanInstructions>{instructions}</psp:PostScanInstructions>{after}</psp:PostScanProcess>"""
    return read_process(xml.encode())


def sent_instructions(instructions: str) -> etree._Element:
    """Return these instructions as a device sends them."""
    xml = f'<d:PostScanInstructions xmlns:d="{DSP}" {DECLARED}>{instructions}</d:PostScanInstructions>'
    return parse(xml.encode())


def compare(stored: str, sent: str, after: str = "") -> list[Difference]:
    return differences(stored_process(stored, after), sent_instructions(sent))


# What does not matter -----------------------------------------------------------------------------------


@pytest.mark.parametrize("opened", list(itertools.product([False, True], repeat=3)))
def test_what_is_sent_on_unchanged_is_the_same(opened: tuple[bool, bool, bool]) -> None:
    add, name, path = opened
    process = stored_process(instructions_xml(add=add, name=name, path=path))
    request = CreatePostScanJobRequest.for_process(
        user_identifier="S-1-1-0", psp_identifier="x", instructions=process.instructions_element
    )
    received = parse(serialize(request.to_element()))
    schemas.validate(received)

    assert differences(process, received[2]) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<psp:ContinueOnError>true<", "<psp:ContinueOnError>1<"),
        ("<psp:ContinueOnError>true<", "<psp:ContinueOnError>\n true <"),
        ("<spf:SaveToMySite>true<", "<spf:SaveToMySite>1<"),
        (">Invoice<", ">\n  Invoice <"),
        (">http://contoso/scans<", ">\thttp://contoso/scans\n<"),
        ('emlf:CanAddAddresses="false"', 'emlf:CanAddAddresses="0"'),
        ('emlf:CanAddAddresses="false"', ""),
        ("<spx:AllowDeviceFileNameChange>false</spx:AllowDeviceFileNameChange>", ""),
        ("<spx:AllowDeviceFileNameChange>false<", "<spx:AllowDeviceFileNameChange><"),
        ("</psp:Filter>", "</psp:Filter>\n\n\t"),
        ("<psp:Instructions>", "<psp:Instructions><!-- nothing -->"),
        ('kind="v:blank"', 'kind="vendor:blank" xmlns:vendor="urn:vendor"'),
        (" v:A4 ", "v:A4"),
    ],
)
def test_another_way_to_write_the_same_is_the_same(old: str, new: str) -> None:
    stored = instructions_xml()
    assert old in stored
    assert compare(stored, stored.replace(old, new)) == []
    assert compare(stored.replace(old, new), stored) == []


@pytest.mark.parametrize(
    ("stored_flag", "local"),
    [
        ("<psp:ContinueOnError>true</psp:ContinueOnError>", "psp:ContinueOnError"),
        ("<spf:SaveToMySite>true</spf:SaveToMySite>", "spf:SaveToMySite"),
        ("<emlf:SendToScanUser>true</emlf:SendToScanUser>", "emlf:SendToScanUser"),
    ],
)
def test_false_and_absent_are_the_same_and_true_is_not(stored_flag: str, local: str) -> None:
    absent = instructions_xml().replace(stored_flag, "")
    false = instructions_xml().replace(stored_flag, stored_flag.replace("true", "0"))

    assert compare(absent, false) == []
    assert compare(false, absent) == []
    assert [d.name for d in compare(absent, instructions_xml())] == [local]
    assert [d.name for d in compare(instructions_xml(), absent)] == [local]
    assert [d.name for d in compare(false, instructions_xml())] == [local]


def test_prefixes_do_not_matter() -> None:
    sent = instructions_xml()
    for prefix in PREFIXES:
        sent = sent.replace(f"<{prefix}:", f"<x{prefix}:").replace(f"</{prefix}:", f"</x{prefix}:")
        sent = sent.replace(f" {prefix}:", f" x{prefix}:").replace(f'"{prefix}:', f'"x{prefix}:')
    declared = " ".join(f'xmlns:x{prefix}="{uri}"' for prefix, uri in PREFIXES.items())
    xml = f'<PostScanInstructions xmlns="{DSP}" {declared}>{sent}</PostScanInstructions>'

    assert differences(stored_process(instructions_xml()), parse(xml.encode())) == []


def test_white_space_between_elements_does_not_matter() -> None:
    sent = sent_instructions(instructions_xml())
    for element in sent.iter(f"{{{PSP}}}*", f"{{{FSF}}}*", f"{{{SPF}}}*", f"{{{EMLF}}}*"):
        if len(element):
            element.text = None
        element.tail = None
    assert differences(stored_process(instructions_xml()), sent) == []


# What the process opens ---------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False])
def test_the_document_root_name_may_differ_where_it_is_open(inside: bool) -> None:
    stored = instructions_xml(name=inside)
    after = "" if inside else "<spx:AllowDeviceFileNameChange>1</spx:AllowDeviceFileNameChange>"
    sent = stored.replace(">Invoice<", ">Something else<")

    assert compare(stored, sent, after) == []
    assert compare(instructions_xml(), instructions_xml().replace(">Invoice<", ">Something else<")) == [
        Difference("PostScanInstructions/psp:DocumentRootName", "psp:DocumentRootName")
    ]


@pytest.mark.parametrize("inside", [True, False])
def test_shares_may_differ_where_they_are_open(inside: bool) -> None:
    stored = instructions_xml(path=inside)
    after = "" if inside else "<spx:AllowDeviceFilePathChange>true</spx:AllowDeviceFilePathChange>"
    sent = stored.replace("copies", "elsewhere")

    assert compare(stored, sent, after) == []
    assert compare(instructions_xml(), instructions_xml().replace("copies", "elsewhere")) == [
        Difference(
            "PostScanInstructions/psp:FiltersToProcess/psp:Filter[1]/psp:Instructions"
            "/fsf:FileShareConfig/fsf:FileShares/fsf:ShareUNC[2]",
            "fsf:ShareUNC",
        )
    ]


def test_no_share_may_be_added_even_where_they_are_open() -> None:
    stored = instructions_xml(path=True)
    sent = stored.replace("</fsf:FileShares>", "<fsf:ShareUNC>x</fsf:ShareUNC></fsf:FileShares>")
    assert [d.name for d in compare(stored, sent)] == ["fsf:ShareUNC"]


def test_a_device_cannot_open_anything_itself() -> None:
    sent = instructions_xml(name=True).replace(">Invoice<", ">Something else<")
    assert {d.name for d in compare(instructions_xml(), sent)} == {
        "psp:DocumentRootName",
        "spx:AllowDeviceFileNameChange",
    }


def with_addresses(*added: str, open_to_user: bool = True) -> str:
    last = "<emlf:EmailAddress>bob@example.com</emlf:EmailAddress>"
    more = "".join(f"\n<emlf:EmailAddress>{address}</emlf:EmailAddress>" for address in added)
    return instructions_xml(add=open_to_user).replace(last, last + more)


@pytest.mark.parametrize(
    "address",
    [
        "eve@example.com",
        "first.last+tag@sub.example.org",
        "o'brien@example.com",
        "jürgen@müller.example",
        " eve@example.com\n",
        "root@localhost",
    ],
)
def test_an_address_may_be_added_where_that_is_open(address: str) -> None:
    assert compare(instructions_xml(add=True), with_addresses(address)) == []


@pytest.mark.parametrize(
    "address",
    [
        "",
        "eve",
        "eve@",
        "@example.com",
        "eve@example.com&#10;Bcc: all@example.com",
        "eve@example.com&#13;&#10;RCPT TO:&lt;x@y&gt;",
        "&lt;eve@example.com&gt;",
        "Eve &lt;eve@example.com&gt;",
        "eve@example.com,bob@example.com",
        "eve@example.com bob@example.com",
        "eve@@example.com",
        "eve@example..com",
        "eve.@example.com",
        ".eve@example.com",
        '"eve"@example.com',
        "eve@[127.0.0.1]",
        "eve@example.com\u0085",
        "eve\u202e@example.com",
        "e\u00a0ve@example.com",
    ],
)
def test_an_address_that_mail_servers_could_misread_is_not_added(address: str) -> None:
    found = compare(instructions_xml(add=True), with_addresses(address))
    assert [d.name for d in found] == ["emlf:EmailAddress"]
    assert found[0].path.endswith("emlf:EmailAddress[3]")


def test_at_most_20_addresses_are_added() -> None:
    addresses = [f"user{n}@example.com" for n in range(MAX_ADDED_ADDRESSES + 1)]
    stored = instructions_xml(add=True)

    assert compare(stored, with_addresses(*addresses[:-1])) == []
    assert [d.path[-20:] for d in compare(stored, with_addresses(*addresses))] == [
        "emlf:EmailAddress[23]"[-20:]
    ]


def test_no_address_is_added_where_that_is_not_open() -> None:
    sent = with_addresses("eve@example.com", open_to_user=False)
    assert [d.name for d in compare(instructions_xml(), sent)] == ["emlf:EmailAddress"]


@pytest.mark.parametrize(
    "change",
    [
        ("ada@example.com", "eve@example.com"),
        ("<emlf:EmailAddress>ada@example.com</emlf:EmailAddress>", ""),
        (
            "<emlf:EmailAddress>ada",
            "<emlf:EmailAddress>eve@example.com</emlf:EmailAddress><emlf:EmailAddress>ada",
        ),
        ('emlf:CanAddAddresses="true"', ""),
    ],
)
def test_stored_addresses_stay_first_and_unchanged(change: tuple[str, str]) -> None:
    stored = instructions_xml(add=True)
    assert compare(stored, stored.replace(*change))


def test_addresses_cannot_be_taken_away_where_some_may_be_added() -> None:
    alone = '<v:Subject lang="de">Neue <v:b>Rechnung</v:b> da</v:Subject>'
    stored = instructions_xml(add=True).replace(alone, "")
    bob = "<emlf:EmailAddress>bob@example.com</emlf:EmailAddress>"
    assert alone not in stored

    assert [d.name for d in compare(stored, stored.replace(bob, ""))] == ["emlf:EmailAddress"]


def test_stored_addresses_behind_a_vendors_element_are_the_same_and_no_addition() -> None:
    """The schema's letter forbids them, the validator lets them pass; fuzzing found they differed."""
    last = "<v:Subject>s</v:Subject><emlf:EmailAddress>eve@example.com</emlf:EmailAddress>"
    stored = instructions_xml(add=True).replace("</emlf:SendToAddresses>", f"{last}</emlf:SendToAddresses>")
    assert compare(stored, stored) == []
    assert compare(instructions_xml(add=True), stored) != []
    assert compare(stored, instructions_xml(add=True)) != []


def test_an_added_address_carries_no_attribute() -> None:
    sent = with_addresses("eve@example.com").replace(
        "<emlf:EmailAddress>eve", '<emlf:EmailAddress v:a="b">eve'
    )
    assert [d.name for d in compare(instructions_xml(add=True), sent)] == ["emlf:EmailAddress"]


# Everything else ----------------------------------------------------------------------------------------


def test_a_name_that_looks_the_same_in_another_namespace_differs() -> None:
    sent = (
        instructions_xml()
        .replace("<v:Cover ", '<v:Cover xmlns:w="urn:vendor" ')
        .replace("v:blank", "w:blank")
    )
    assert compare(instructions_xml(), sent) == []
    assert [d.name for d in compare(instructions_xml(), sent.replace('"urn:vendor"', '"urn:evil"'))] == [
        "Cover/@kind"
    ]


def test_another_element_than_instructions_differs() -> None:
    sent = parse(f'<d:JobToken xmlns:d="{DSP}"/>'.encode())
    assert differences(stored_process(instructions_xml()), sent) == [
        Difference("dsp:JobToken", "dsp:JobToken")
    ]


def test_a_difference_of_an_attribute_is_named_with_its_element() -> None:
    (found,) = compare(instructions_xml(), instructions_xml(add=True))
    assert found.name == "emlf:SendToAddresses/@emlf:CanAddAddresses"
    assert found.path.endswith("/emlf:SendToAddresses/@emlf:CanAddAddresses")


Mutation = Callable[[etree._Element, str], bool]


def change_text(element: etree._Element, text: str) -> bool:
    element.text = (element.text or "") + text
    return True


def change_tail(element: etree._Element, text: str) -> bool:
    element.tail = (element.tail or "") + text
    return element.getparent() is not None


def change_attributes(element: etree._Element, text: str) -> bool:
    for name in element.attrib:
        element.set(str(name), text)
    return bool(element.attrib)


def remove_attributes(element: etree._Element, _text: str) -> bool:
    had_any = bool(element.attrib)
    element.attrib.clear()
    return had_any


def add_attribute(element: etree._Element, text: str) -> bool:
    element.set("{urn:vendor}added", text)
    return True


def remove(element: etree._Element, _text: str) -> bool:
    parent = element.getparent()
    if parent is None:
        return False
    parent.remove(element)
    return True


def empty(element: etree._Element, _text: str) -> bool:
    had_any = len(element) > 0 or bool((element.text or "").strip())
    for child in list(element):
        element.remove(child)
    element.text = None
    return had_any


def double(element: etree._Element, _text: str) -> bool:
    if element.getparent() is None:
        return False
    element.addnext(copy.deepcopy(element))
    return True


def swap_with_next(element: etree._Element, _text: str) -> bool:
    following = element.getnext()
    if following is None:
        return False
    element.addprevious(following)
    return True


def rename(element: etree._Element, _text: str) -> bool:
    element.tag = "{urn:vendor}Renamed"
    return True


def move_to_other_namespace(element: etree._Element, _text: str) -> bool:
    element.tag = qname("urn:evil", etree.QName(element).localname)
    return True


def insert_first(element: etree._Element, text: str) -> bool:
    element.insert(0, etree.Element("{urn:vendor}Inserted"))
    element[0].text = text
    return True


def insert_last(element: etree._Element, text: str) -> bool:
    etree.SubElement(element, "{urn:vendor}Inserted").text = text
    return True


MUTATIONS: list[Mutation] = [
    change_text,
    change_tail,
    change_attributes,
    remove_attributes,
    add_attribute,
    remove,
    empty,
    double,
    swap_with_next,
    rename,
    move_to_other_namespace,
    insert_first,
    insert_last,
]
# The flags are true where no flag of the process opens anything, so that taking one away is a change, too.
CLOSED = (
    instructions_xml()
    .replace('<emlf:SendToAddresses emlf:CanAddAddresses="false">', "<emlf:SendToAddresses>")
    .replace("<spx:AllowDeviceFileNameChange>false</spx:AllowDeviceFileNameChange>", "")
    .replace("<spx:AllowDeviceFilePathChange>false</spx:AllowDeviceFilePathChange>", "")
)
PLACES = len(list(sent_instructions(CLOSED).iter()))
VISIBLE = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x2FF, exclude_categories=("Cc", "Zs")), min_size=1
)


STORED = stored_process(CLOSED)
OPEN = instructions_xml(add=True, name=True, path=True)
STORED_OPEN = stored_process(OPEN)


def is_opened(element: etree._Element, mutate: Mutation) -> bool:
    """Tell whether OPEN lets the user do this: both shares are open, so their order is, too."""
    if element.tag == qname(PSP, "DocumentRootName"):
        return mutate in (change_text, empty)
    if element.tag == qname(FSF, "ShareUNC"):
        return mutate in (change_text, empty, swap_with_next)
    # The last address, doubled, is one that was added.
    return mutate is double and element.text == "bob@example.com"


@pytest.mark.parametrize("mutate", MUTATIONS)
@pytest.mark.parametrize("instructions", [CLOSED, OPEN], ids=["closed", "open"])
def test_no_mutation_anywhere_goes_unnoticed(instructions: str, mutate: Mutation) -> None:
    stored = stored_process(instructions)
    mutated, unnoticed = 0, []
    for place in range(len(list(sent_instructions(instructions).iter()))):
        sent = sent_instructions(instructions)
        element = list(sent.iter())[place]
        tag = element.tag
        if instructions == OPEN and is_opened(element, mutate):
            continue
        if mutate(element, "x"):
            mutated += 1
            if not differences(stored, sent):
                unnoticed.append((place, tag))
    assert mutated
    assert unnoticed == []


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_what_is_open_may_change(mutate: Mutation) -> None:
    sent = sent_instructions(OPEN)
    for element in list(sent.iter()):
        if is_opened(element, mutate):
            mutate(element, "x")
            assert differences(STORED_OPEN, sent) == []


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(
    opened=st.booleans(), place=st.integers(0, PLACES - 1), mutate=st.sampled_from(MUTATIONS), text=VISIBLE
)
def test_no_text_goes_unnoticed(opened: bool, place: int, mutate: Mutation, text: str) -> None:
    sent = sent_instructions(OPEN if opened else CLOSED)
    element = list(sent.iter())[place]
    assume(not (opened and is_opened(element, mutate)))
    before = dict(element.attrib)
    assume(mutate(element, text))
    # CanAddAddresses may be written in two ways.
    assume(mutate is not change_attributes or (dict(element.attrib) != before and text != "1"))

    assert differences(STORED_OPEN if opened else STORED, sent)


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(st.lists(st.tuples(st.integers(0, 100), st.sampled_from(MUTATIONS)), max_size=30))
def test_whatever_is_sent_is_compared(steps: list[tuple[int, Mutation]]) -> None:
    sent = sent_instructions(OPEN)
    for place, mutate in steps:
        elements = list(sent.iter())
        mutate(elements[place % len(elements)], "x")
    assert isinstance(differences(STORED_OPEN, sent), list)

from __future__ import annotations

import pytest

from postscan.soap.names import DSP, XOP, XOP_2003
from postscan.soap.xml import parse
from postscan.soap.xop import XopRefused, find_stray_includes, include_of


def image_data(content: str, namespace: str = XOP):
    return parse(
        f'<dsp:ImageData xmlns:dsp="{DSP}" xmlns:xop="{namespace}">{content}</dsp:ImageData>'.encode()
    )


@pytest.mark.parametrize("namespace", [XOP, XOP_2003])
def test_the_part_is_named_by_the_single_include(namespace):
    assert include_of(image_data('<xop:Include href="cid:a@b"/>', namespace)) == "a@b"


def test_white_space_around_the_include_is_accepted():
    assert include_of(image_data('\n  <xop:Include href=" cid:a@b\n"/>\r\n')) == "a@b"


@pytest.mark.parametrize(
    ("href", "content_id"),
    [
        ("cid:a%40b", "a@b"),
        ("CID:a@b", "a@b"),
        ("cid:a%2540b", "a%40b"),
        ("cid:http://tempuri.org/1/63562", "http://tempuri.org/1/63562"),
        ("cid:http%3A%2F%2Ftempuri.org%2F1", "http://tempuri.org/1"),
        ("cid:%C3%A4@b", "ä@b"),
        ("cid:50%off@b", "50%off@b"),
    ],
)
def test_the_reference_is_percent_decoded_once(href, content_id):
    assert include_of(image_data(f'<xop:Include href="{href}"/>')) == content_id


@pytest.mark.parametrize("content", ["", "AAECAw==", "<other/>"])
def test_an_element_without_include_names_no_part(content):
    assert include_of(image_data(content)) is None


@pytest.mark.parametrize(
    "content",
    [
        '<xop:Include href="http://127.0.0.1/secret"/>',
        '<xop:Include href="https://example.org/x"/>',
        '<xop:Include href="file:///etc/passwd"/>',
        '<xop:Include href="mid:a@b"/>',
        '<xop:Include href="a@b"/>',
        '<xop:Include href="/etc/passwd"/>',
        '<xop:Include href="//host/share"/>',
        '<xop:Include href=""/>',
        '<xop:Include href="cid:"/>',
        '<xop:Include href="cid: "/>',
        '<xop:Include href="cid:%00"/>',
        '<xop:Include href="cid:a%0d%0ab"/>',
        '<xop:Include href="cid:%ff"/>',
        "<xop:Include/>",
        '<xop:Include href="cid:a"/><xop:Include href="cid:a"/>',
        '<xop:Include href="cid:a"/><other/>',
        '<other/><xop:Include href="cid:a"/>',
        'AAEC<xop:Include href="cid:a"/>',
        '<xop:Include href="cid:a"/>AAEC',
    ],
)
def test_an_include_of_anything_but_one_part_of_the_message_is_refused(content):
    with pytest.raises(XopRefused) as refusal:
        include_of(image_data(content))
    assert refusal.value.detail == "dsp:ImageData"
    assert refusal.value.fault.subcode == "InvalidArgs"


def envelope(name: str, image: str):
    return parse(
        f'<e xmlns:dsp="{DSP}" xmlns:xop="{XOP}" xmlns:old="{XOP_2003}"><dsp:SendImageRequest>'
        f"<dsp:JobToken>{name}</dsp:JobToken><dsp:ImageData>{image}</dsp:ImageData>"
        f"</dsp:SendImageRequest></e>".encode()
    )


def test_the_include_in_its_place_is_no_stray():
    root = envelope("t", '<xop:Include href="cid:a"/>')
    find_stray_includes(root, root.find(f".//{{{DSP}}}ImageData"))


@pytest.mark.parametrize("kind", ["xop:Include", "old:Include", "xop:include"])
def test_an_include_in_a_name_or_path_is_refused_and_named(kind):
    root = envelope(f'<{kind} href="cid:a"/>', '<xop:Include href="cid:a"/>')
    with pytest.raises(XopRefused) as refusal:
        find_stray_includes(root, root.find(f".//{{{DSP}}}ImageData"))
    assert refusal.value.detail == "dsp:JobToken"


def test_no_include_may_stand_anywhere_in_a_message_without_binary_element():
    with pytest.raises(XopRefused) as refusal:
        find_stray_includes(envelope("t", '<xop:Include href="cid:a"/>'), None)
    assert refusal.value.detail == "dsp:ImageData"


@pytest.mark.parametrize(
    "image",
    [
        '<xop:Include href="cid:a"/><old:Include href="cid:a"/>',
        '<wrapper><xop:Include href="cid:a"/></wrapper>',
        '<xop:Include href="cid:a"><xop:Include href="cid:a"/></xop:Include>',
    ],
)
def test_a_second_or_deeper_include_is_refused(image):
    root = envelope("t", image)
    with pytest.raises(XopRefused):
        find_stray_includes(root, root.find(f".//{{{DSP}}}ImageData"))


def test_an_include_as_the_whole_message_is_refused():
    with pytest.raises(XopRefused):
        find_stray_includes(parse(f'<Include xmlns="{XOP}" href="cid:a"/>'.encode()), None)

"""Every deviation that real peers show (dpws.md, 4.4; spec README, trap 7) is read, no octet lost."""

from __future__ import annotations

import pytest

from postscan.soap.xml import parse
from postscan.soap.xop import include_of

CONTENT_TYPE = "multipart/related; boundary=B; start=<root@x>"
ROOT = b"--B\r\nContent-ID: <root@x>\r\n\r\n<e/>"
IMAGE = b"\r\n--B\r\nContent-ID: <image@x>\r\n\r\n"
DATA = b"\xff\xd8\r\n--\r\n--B2\r\n\x00\r"
TAIL = b"\r\n--B--\r\n"

SOAP_NS = b"http://www.w3.org/2003/05/soap-envelope"
DSP_NS = b"http://schemas.microsoft.com/windows/2008/12/wdp/distributedscan/processing"
SEND_IMAGE_BOUNDARY = "e1ac1c8d-11be-4313-999f-a8b0857d5360-3c31c1fe-39ef-4c34-8efd-918cf79f6"
SEND_IMAGE_CONTENT_TYPE = (
    f"Multipart/Related;\r\n        boundary={SEND_IMAGE_BOUNDARY};\r\n"
    '        type="application/xop+xml";\r\n        start="<xml@example.org>";\r\n'
    '        start-info="application/soap+xml"'
)


def send_image_frame(line_end: bytes, blank: bytes, data: bytes) -> bytes:
    """Return the frame of the published SendImage example, folded headers and all."""
    delimiter = b"--" + SEND_IMAGE_BOUNDARY.encode()
    envelope = (
        b'<?xml version="1.0" encoding="utf-8"?>\n<soap:Envelope\n     xmlns:soap="' + SOAP_NS + b'"\n'
        b'     xmlns:dsp="' + DSP_NS + b'"\n     xmlns:xop="http://www.w3.org/2004/08/xop/include">\n'
        b"  <soap:Body>\n    <dsp:SendImageRequest>\n      <dsp:ImageData>\n"
        b'        <xop:Include href="cid:1c696bd7-005a-48d9-9ee9-9adca11f8892@uuid"/>\n'
        b"      </dsp:ImageData>\n    </dsp:SendImageRequest>\n  </soap:Body>\n</soap:Envelope>\n"
    )
    lines = [
        blank,
        delimiter,
        b"Content-Type: application/xop+xml; type=application/soap+xml",
        b"                                   charset=UTF-8",
        b"Content-Transfer-Encoding: binary",
        b"Content-ID: <xml@example.org>",
        blank,
        envelope + blank,
        delimiter,
        b"Content-Type: application/octet-stream;",
        b"Content-Transfer-Encoding: binary",
        b"Content-ID: <1c696bd7-005a-48d9-9ee9-9adca11f8892@uuid>",
        blank,
        data,
        delimiter + b"--",
        blank,
        blank,
    ]
    return line_end.join(lines)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("blank", [b"", b" "])
def test_the_published_send_image_example_is_read(reader, line_end, blank):
    frame = send_image_frame(line_end, blank, b"Document PDL Data")
    message = reader(SEND_IMAGE_CONTENT_TYPE).read([frame])
    root = parse(message.root)
    include = include_of(root.find(f".//{{{DSP_NS.decode()}}}ImageData"))
    assert message.parts == [(include, "application/octet-stream", b"Document PDL Data")]


def test_the_published_retrieve_image_answer_is_read(reader):
    content_type = (
        "multipart/related;\r\n    type=application/xop+xml;\r\n    boundary=4aa7d814;\r\n"
        '    start="<14629f74@uuid>";\r\n    startinfo=application/soap+xml'
    )
    message = (
        b"\r\n\r\n--4aa7d814\r\n"
        b'Content-Type: application/xop+xml; type="application/soap+xml"\r\n   charset=UTF-8\r\n'
        b"Content-Transfer-Encoding: binary\r\nContent-ID: <14629f74@uuid>\r\n\r\n<e/>\r\n--4aa7d814\r\n"
        # A blank line before the headers, and a blank inside the angle brackets.
        b"\r\nContent-Type: image/jpeg;\r\nContent-Transfer-Encoding: binary\r\n"
        b"Content-ID: <1c696bd7@uuid >\r\n\r\n" + DATA + b"\r\n--4aa7d814--"
    )
    read = reader(content_type).read([message])
    assert read.root == b"<e/>"
    assert read.parts == [("1c696bd7@uuid", "image/jpeg", DATA)]


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        pytest.param(CONTENT_TYPE, ROOT + IMAGE + DATA + TAIL, id="as it should be"),
        pytest.param(CONTENT_TYPE, b"\r\n" + ROOT + IMAGE + DATA + TAIL, id="leading line end"),
        pytest.param(CONTENT_TYPE, b"pre\r\namble --B\r\n" + ROOT + IMAGE + DATA + TAIL, id="preamble"),
        pytest.param(CONTENT_TYPE, ROOT + IMAGE + DATA + TAIL + b"epi\r\n--B\r\nlogue", id="epilogue"),
        pytest.param(CONTENT_TYPE, ROOT + IMAGE + DATA + b"\r\n--B--", id="no line end at the end"),
        pytest.param(CONTENT_TYPE, ROOT + IMAGE + DATA + b"--B--", id="no line end before the last boundary"),
        pytest.param(CONTENT_TYPE, ROOT + IMAGE + DATA + b"--B--\r\n", id="nor there, but after it"),
        pytest.param(
            CONTENT_TYPE, ROOT + IMAGE + DATA + b"\r\n--B-- \t\r\n", id="blanks after the last boundary"
        ),
        pytest.param(
            CONTENT_TYPE,
            (ROOT + IMAGE).replace(b"--B", b"--B \t ") + DATA + TAIL,
            id="blanks after boundaries",
        ),
        pytest.param(
            CONTENT_TYPE,
            (ROOT + IMAGE).replace(b"\r\n", b"\n") + DATA + TAIL,
            id="bare line feeds in the frame",
        ),
        pytest.param(
            CONTENT_TYPE,
            (ROOT + IMAGE).replace(b"--B\r\n", b"--B\r\n\r\n") + DATA + TAIL,
            id="blank line first",
        ),
        pytest.param(
            CONTENT_TYPE,
            (ROOT + IMAGE).replace(b"Content-ID: ", b"content-id:") + DATA + TAIL,
            id="lower case",
        ),
        pytest.param(
            CONTENT_TYPE,
            (ROOT + IMAGE).replace(b"Content-ID: ", b"X-Other: y\r\nContent-ID:\r\n\t") + DATA + TAIL,
            id="other headers and folding",
        ),
        pytest.param("Multipart/Related; boundary=B", ROOT + IMAGE + DATA + TAIL, id="no start"),
        pytest.param('multipart/related; boundary=B; start=""', ROOT + IMAGE + DATA + TAIL, id="empty start"),
        pytest.param(
            "multipart/related; boundary=B; start=root@x", ROOT + IMAGE + DATA + TAIL, id="bare start"
        ),
        pytest.param(
            "multipart/related; boundary=B; start=root@x",
            ROOT.replace(b"<root@x>", b"root@x") + IMAGE + DATA + TAIL,
            id="no angle brackets at all",
        ),
    ],
)
def test_a_deviation_of_real_peers_is_read(reader, content_type, message):
    for chunks in ([message], [bytes([octet]) for octet in message]):
        read = reader(content_type).read(chunks)
        assert read.root == b"<e/>"
        assert read.parts == [("image@x", "", DATA)]


def test_the_root_may_come_after_other_parts(reader):
    message = IMAGE.lstrip() + DATA + b"\r\n" + ROOT + TAIL
    read = reader(CONTENT_TYPE).read([message])
    assert read.order == ["image@x", "root"]
    assert read.root == b"<e/>"
    assert read.parts[0][2] == DATA


def test_parts_that_nothing_refers_to_are_read_like_others(reader):
    extra = b"\r\n--B\r\n\r\nno headers at all"
    read = reader(CONTENT_TYPE).read([ROOT + IMAGE + DATA + extra + TAIL])
    assert read.parts == [("image@x", "", DATA), ("", "", b"no headers at all")]


def test_an_empty_part_is_a_part(reader):
    read = reader(CONTENT_TYPE).read([ROOT + IMAGE + TAIL])
    assert read.parts == [("image@x", "", b"")]


def test_the_delimiter_may_follow_the_blank_line_of_an_empty_part_at_once(reader):
    read = reader(CONTENT_TYPE).read([ROOT + IMAGE + b"--B--\r\n"])
    assert read.parts == [("image@x", "", b"")]


@pytest.mark.parametrize(
    "boundary", ["==pzR/KspN6DE28z6GPVW==", "uuid:b582909b-0d45+id=10899", "a" * 72, "b"]
)
def test_boundaries_of_real_stacks_are_read_bare_and_quoted(reader, boundary):
    message = (ROOT + IMAGE + DATA + TAIL).replace(b"--B\r", b"--%b\r" % boundary.encode())
    message = message.replace(b"--B--", b"--%b--" % boundary.encode())
    for written in (boundary, f'"{boundary}"'):
        read = reader(f"multipart/related;boundary={written};start=<root@x>").read([message])
        assert read.parts == [("image@x", "", DATA)]


def test_only_the_last_line_end_before_a_boundary_belongs_to_it(reader):
    read = reader(CONTENT_TYPE).read([ROOT + IMAGE + b"x\r\n\r\n\r\n--B--\r\n"])
    assert read.parts[0][2] == b"x\r\n\r\n"


def test_the_closing_boundary_inside_a_line_is_data_when_more_follows(reader):
    data = b"x--B--\r\n"
    read = reader(CONTENT_TYPE).read([ROOT + IMAGE + data + TAIL])
    assert read.parts[0][2] == data


def test_what_comes_after_the_end_is_ignored_even_in_later_windows(reader):
    feeder = reader(CONTENT_TYPE)
    feeder.feed(ROOT + IMAGE + DATA + TAIL)
    feeder.feed(b"\r\n--B\r\nContent-ID: <late@x>\r\n\r\nlate" + TAIL)
    assert [part[0] for part in feeder.message.parts] == ["image@x"]
    assert feeder.most_kept == 0

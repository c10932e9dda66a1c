"""Abuse cases 8 and 12 to 14, and the frames that real peers send (spec README, trap 7): MTOM on the wire."""

import base64

import pytest

from postscan.soap.names import DSP, SOAP, WSA, XOP, XOP_2003
from support.scanning import Site, jpeg
from support.wire import (
    BOUNDARY,
    IMAGE_ID,
    ROOT_ID,
    Part,
    Wire,
    canary,
    chunked,
    frame,
    image_part,
    images_of,
    mtom_type,
    new_id,
    no_temporary_files,
    root_part,
    send_image,
    temporary_files,
    wire,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
IMAGE = jpeg(1, 5_000)


async def stored(site: Site, token: str) -> list[bytes]:
    """Return the octets of a job's images, as they lie in the spool."""
    assert site.server is not None
    folder = site.made.folder / "data" / "spool" / "jobs" / token
    return [p.read_bytes() for p in sorted(folder.iterdir())] if folder.is_dir() else []


async def refused(site: Site, peer: Wire, token: str, body: bytes, content_type: str | None = None) -> str:
    """Send a message that must be refused; return the fault's Detail."""
    answer = await peer.post(body, content_type or mtom_type())
    assert answer.status == 400, answer.body
    assert answer.subcode in ("Sender", "InvalidArgs")
    assert await images_of(site, token) == 0
    assert await stored(site, token) == []
    assert temporary_files(site) == []
    assert await peer.works()
    return answer.detail


# Includes (cases 12 to 14) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reference",
    [
        "{canary}",
        "HTTP://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "file:///etc/hostname",
        "/etc/hostname",
        "image@test",
        "./image@test",
        "#image@test",
        "mid:image@test",
        "cid:",
        "cid:%00",
        "cid:http://127.0.0.1:{port}/",
        "data:image/jpeg;base64,/9j/",
        "",
    ],
)
async def test_case_12_an_include_of_anything_but_a_part_is_refused(site: Site, reference: str) -> None:
    async with canary() as bird, wire(site) as peer:
        token = await peer.create()
        href = reference.format(canary=bird.url, port=bird.port)
        message = frame(
            root_part(send_image(token, image=f'<xop:Include href="{href}"/>')), image_part(IMAGE)
        )
        await refused(site, peer, token, message)


@pytest.mark.parametrize("place", ["JobToken", "Format", "DocumentId", "MessageID", "Header"])
async def test_case_13_an_include_in_another_field_is_refused(site: Site, place: str) -> None:
    include = f'<xop:Include href="cid:{IMAGE_ID}"/>'
    async with wire(site) as peer:
        token = await peer.create()
        message = {
            "JobToken": send_image(include),
            "Format": send_image(token, image_format=include),
            "DocumentId": send_image(token, document_id=include),
            "MessageID": send_image(token, message_id=include),
            "Header": send_image(token, headers=f"<x:y xmlns:x='urn:x'>{include}</x:y>"),
        }[place]
        answer = await peer.post(frame(root_part(message), image_part(IMAGE)), mtom_type())
        assert answer.status == 400
        expected = "InvalidMessageInformationHeader" if place == "MessageID" else "InvalidArgs"
        assert answer.subcode == expected
        assert await images_of(site, token) == 0


async def test_case_13_an_include_in_an_operation_without_binary_data_is_refused(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        body = send_image(token).replace(b"SendImage", b"EndPostScanJob")
        answer = await peer.post(frame(root_part(body), image_part(IMAGE)), mtom_type())
        assert (answer.status, answer.subcode) == (400, "InvalidArgs")


@pytest.mark.parametrize(
    "image",
    [
        f'<xop:Include href="cid:{IMAGE_ID}"/><xop:Include href="cid:{IMAGE_ID}"/>',
        f'<xop:Include href="cid:{IMAGE_ID}"/>/9j/',
        f'/9j/<xop:Include href="cid:{IMAGE_ID}"/>',
        f'<xop:Include href="cid:{IMAGE_ID}"><xop:Include href="cid:{IMAGE_ID}"/></xop:Include>',
        '<xop:Include href="cid:missing@test"/>',
        f'<xop:Include href="cid:{ROOT_ID}"/>',
        f'<xop:Include href="cid:{IMAGE_ID.replace("@", "%2540")}"/>',
        f'<xop:Include href="cid:&lt;{IMAGE_ID}&gt;"/>',
        "",
        "  ",
        "!not base64!",
    ],
    ids=[
        "twice",
        "text behind",
        "text before",
        "nested",
        "missing",
        "the root itself",
        "decoded twice",
        "brackets",
        "nothing",
        "white space",
        "no base64",
    ],
)
async def test_case_14_one_include_is_one_part_of_the_message(site: Site, image: str) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        await refused(site, peer, token, frame(root_part(send_image(token, image=image)), image_part(IMAGE)))


@pytest.mark.parametrize("order", ["root first", "root last"])
async def test_case_14_two_parts_with_one_content_id_are_refused(site: Site, order: str) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        parts = [root_part(send_image(token)), image_part(IMAGE), image_part(jpeg(2))]
        message = frame(*(parts if order == "root first" else parts[::-1]))
        assert await refused(site, peer, token, message) == "Content-ID"


async def test_case_14_percent_coding_is_undone_once(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        image = f'<xop:Include href="cid:{IMAGE_ID.replace("@", "%40")}"/>'
        answer = await peer.post(
            frame(root_part(send_image(token, image=image)), image_part(IMAGE)), mtom_type()
        )
        assert answer.status == 200
        assert await stored(site, token) == [IMAGE]


async def test_case_14_parts_that_nothing_includes_are_dropped(site: Site) -> None:
    nameless = Part(b"nobody wants this", ("Content-Type: text/plain",))
    other = image_part(jpeg(7), "other@test")
    root = send_image
    for number, order in enumerate(("first", "last", "between"), start=1):
        async with wire(site) as peer:
            token = await peer.create()
            own, wanted = root_part(root(token, document_id=number)), image_part(IMAGE)
            parts = {
                "first": (nameless, other, nameless, own, wanted),
                "last": (own, wanted, other, nameless, nameless),
                "between": (nameless, own, other, nameless, wanted, nameless),
            }[order]
            answer = await peer.post(frame(*parts), mtom_type())
            assert answer.status == 200, answer.body
            assert await stored(site, token) == [IMAGE]
            assert temporary_files(site) == []


# Floods and malformed frames (case 8) ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "content_type"),
    [
        (frame(*(image_part(b"x", f"{n}@test") for n in range(17))), mtom_type()),
        (frame(Part(b"x", tuple(f"X-{n}: {'y' * 100}" for n in range(100)))), mtom_type()),
        (frame(Part(b"x", ("X: " + "y" * 9_000,))), mtom_type()),
        (b"x" * 20_000, mtom_type()),
        (b"", mtom_type()),
        (frame(), mtom_type()),
        (frame(root_part(b"<x/>")), "multipart/related; boundary="),
        (frame(root_part(b"<x/>")), "multipart/related"),
        (frame(root_part(b"<x/>")), f'multipart/related; boundary="{"b" * 100}"'),
        (frame(root_part(b"<x/>")), 'multipart/related; boundary="a"; boundary="b"'),
        (frame(image_part(IMAGE)), mtom_type(start="nobody@test")),
        (frame(root_part(b"x" * 300_000)), mtom_type()),
        (frame(Part(b"eA==", ("Content-Transfer-Encoding: base64", "Content-ID: <a@b>"))), mtom_type()),
        ((f"--{BOUNDARY}\r\n\r\n" * 5_000).encode(), mtom_type()),
        ((f"--{BOUNDARY}x\r\n" * 20_000).encode(), mtom_type()),
    ],
    ids=[
        "parts",
        "many headers",
        "long header",
        "no boundary",
        "empty",
        "no parts",
        "empty boundary",
        "boundary left out",
        "long boundary",
        "two boundaries",
        "no root",
        "large root",
        "coded part",
        "empty parts",
        "lookalikes",
    ],
)
async def test_case_8_floods_and_malformed_frames_are_refused(
    site: Site, message: bytes, content_type: str
) -> None:
    async with wire(site) as peer:
        answer = await peer.post(message, content_type)
        assert (answer.status, answer.subcode) == (400, "Sender")
        assert await peer.works()
    assert temporary_files(site) == []


@pytest.mark.parametrize("lookalike", [f"\r\n--{BOUNDARY}-", f"\r\n--{BOUNDARY}x", f"\n--{BOUNDARY[:-1]}"])
async def test_case_8_an_image_made_of_lookalikes_of_the_boundary_arrives_whole(
    site: Site, lookalike: str
) -> None:
    """A parser that looked at each of them anew from the start would not be done within the time allowed."""
    image = (jpeg() + lookalike.encode() * 100_000)[:2_000_000]
    async with wire(site) as peer:
        token = await peer.create()
        assert (await peer.upload(token, image)).status == 200
        assert await stored(site, token) == [image]


async def test_parts_before_the_root_are_not_kept_for_a_caller_without_identity(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert site.server is not None
    opened: list[object] = []
    monkeypatch.setattr(site.server.engine.spool, "open_image", opened.append)
    async with wire(site, user=None) as peer:
        answer = await peer.post(frame(image_part(jpeg(1, 500_000)), root_part(send_image("t"))), mtom_type())
        assert (answer.status, answer.subcode) == (400, "FailedAuthentication")
    assert opened == []


# What real peers send (trap 7) ----------------------------------------------------------------------------


async def test_the_published_frame_with_its_folded_header_is_accepted(site: Site) -> None:
    """The SendImage example of the documents, in form octet for octet: folding, bare boundary."""
    boundary = "e1ac1c8d-11be-4313-999f-a8b0857d5360-3c31c1fe-39ef-4c34-8efd-918cf79f6"
    async with wire(site) as peer:
        token = await peer.create()
        root = f"""<?xml version="1.0" encoding="utf-8"?>
<soap:Envelope
     xmlns:soap="{SOAP}"
     xmlns:wsa="{WSA}"
     xmlns:dsp="{DSP}"
     xmlns:xop="{XOP}">
  <soap:Header>
    <wsa:To>DestinationAddress</wsa:To>
    <wsa:Action>
      {DSP}/SendImage
    </wsa:Action>
    <wsa:MessageID>uuid:UniqueMsgId</wsa:MessageID>
  </soap:Header>
  <soap:Body>
    <dsp:SendImageRequest>
      <dsp:JobToken>{token}</dsp:JobToken>
       <dsp:DocumentDescription>
        <dsp:DocumentId>9</dsp:DocumentId>
        <dsp:Format>jfif</dsp:Format>
      </dsp:DocumentDescription>
      <dsp:ImageData>
        <xop:Include href="cid:1c696bd7-005a-48d9-9ee9-9adca11f8892@uuid"/>
      </dsp:ImageData>
    </dsp:SendImageRequest>
  </soap:Body>
</soap:Envelope>
""".replace("\n", "\r\n").encode()
        body = frame(
            Part(
                root,
                (
                    "Content-Type: application/xop+xml; type=application/soap+xml",
                    "                                   charset=UTF-8",
                    "Content-Transfer-Encoding: binary",
                    "Content-ID: <xml@example.org>",
                ),
            ),
            Part(
                IMAGE,
                (
                    "Content-Type: application/octet-stream;",
                    "Content-Transfer-Encoding: binary",
                    "Content-ID: <1c696bd7-005a-48d9-9ee9-9adca11f8892@uuid>",
                ),
            ),
            boundary=boundary,
        )
        head = (
            f"POST {peer.service} HTTP/1.1\r\nHost: localhost\r\nmime-version: 1.0\r\n"
            "Content-Type: Multipart/Related;\r\n"
            f"        boundary={boundary};\r\n"
            '        type="application/xop+xml";\r\n'
            '        start="<xml@example.org>";\r\n'
            '        start-info="application/soap+xml"\r\n'
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        await peer.say(head + body)
        answer = await peer.answer()
        assert answer.status == 200, answer.body
        assert answer.envelope.headers.relates_to == "uuid:UniqueMsgId"
        assert await stored(site, token) == [IMAGE]


def deviations(token: str) -> dict[str, tuple[bytes, str]]:
    """Return messages that deviate from the usual, each with its Content-Type."""
    root, image = root_part(send_image(token)), image_part(IMAGE)
    lower = [
        Part(p.data, tuple(h.partition(":")[0].lower() + h[h.index(":") :] for h in p.headers))
        for p in (root, image)
    ]
    inline = root_part(send_image(token, image=base64.encodebytes(IMAGE).decode()))
    old = root_part(send_image(token).replace(XOP.encode(), XOP_2003.encode()))
    return {
        "root last": (frame(image, root), mtom_type()),
        "no start": (frame(root, image), mtom_type(start=None)),
        "lower-case part headers": (frame(*lower), mtom_type()),
        "preamble and epilogue": (
            frame(root, image, before=b"This is MIME.\r\n", after=b"\r\nThat was it.\r\n"),
            mtom_type(),
        ),
        "no line end at the end": (frame(root, image, after=b""), mtom_type()),
        "base64 in an MTOM message": (frame(inline), mtom_type()),
        "the old XOP namespace": (frame(old, image), mtom_type()),
        "bare boundary": (frame(root, image), f"Multipart/Related;boundary={BOUNDARY}"),
        "uuid: message id": (
            frame(root_part(send_image(token, message_id="uuid:0a5ee2f1")), image),
            mtom_type(),
        ),
        "line feeds alone": (
            frame(root, image).replace(b"\r\n", b"\n"),
            mtom_type(),
        ),
    }


@pytest.mark.parametrize("framing", ["counted", "chunked", "octet by octet", "last chunk later"])
@pytest.mark.parametrize("name", list(deviations("t")))
async def test_deviations_of_real_peers_are_accepted_however_they_are_framed(
    site: Site, name: str, framing: str
) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        body, content_type = deviations(token)[name]
        if framing == "counted":
            answer = await peer.post(body, content_type)
        else:
            await peer.say(peer.head(f"Content-Type: {content_type}", "Transfer-Encoding: chunked"))
            whole = chunked(body, 1 if framing == "octet by octet" else 700)
            if framing == "last chunk later":
                await peer.say(whole[:-5])
                async with wire(site) as other:
                    # The first part has arrived by the time somebody else was answered.
                    assert await other.works()
                await peer.say(whole[-5:])
            else:
                await peer.say(whole)
            answer = await peer.answer()
        assert answer.status == 200, answer.body
        assert await stored(site, token) == [IMAGE]
        assert await peer.works()


async def test_base64_in_a_plain_message_is_an_image(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        answer = await peer.post(send_image(token, image=base64.encodebytes(IMAGE).decode()))
        assert answer.status == 200
        assert await stored(site, token) == [IMAGE]


async def test_an_include_in_a_plain_message_is_refused(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        await refused(site, peer, token, send_image(token), "application/soap+xml")


@pytest.mark.parametrize(
    "document_id", ["0", "-1", "1.5", "x", "", str(10**30), "99999999999", "1 2", "../../1"]
)
async def test_a_document_id_that_is_no_sound_number_is_refused(site: Site, document_id: str) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        message = frame(root_part(send_image(token, document_id=document_id)), image_part(IMAGE))
        assert await refused(site, peer, token, message) == "dsp:DocumentId"


async def test_attachments_to_the_device_itself_are_refused(site: Site) -> None:
    async with wire(site) as peer:
        body = frame(root_part(send_image(new_id())), image_part(jpeg(1, 300_000)))
        answer = await peer.post(body, mtom_type(), path="/ScanServer")
        assert (answer.status, answer.subcode) == (400, "Sender")
        assert await peer.works()
    await no_temporary_files(site)

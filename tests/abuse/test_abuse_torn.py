"""Uploads that are torn, at every part of the message, and uploads that are refused while they come."""

import asyncio
import base64
import socket
import ssl
from urllib.parse import urlsplit

import pytest

from support.scanning import Site, jpeg
from support.wire import (
    chunked,
    frame,
    image_part,
    images_of,
    mtom_type,
    no_temporary_files,
    root_part,
    send_image,
    temporary_files,
    upload,
    wire,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
# Larger than what stays in memory, so that there is a file to clean up.
IMAGE = jpeg(3, 200_000)


def cuts(message: bytes, image: bytes) -> dict[str, int]:
    """Return places to cut a message at, by what is torn there."""
    root = message.index(b"<soap:Envelope")
    part = message.index(image)
    end = part + len(image)
    return {
        "nothing sent": 0,
        "in the first boundary": 5,
        "in the root's headers": root - 30,
        "in the envelope": root + 300,
        "behind the envelope": message.index(b"</soap:Envelope>") + 16,
        "in the image's headers": part - 10,
        "before the image": part,
        "one octet of the image": part + 1,
        "amid the image": part + len(image) // 2,
        "one octet short": end - 1,
        "behind the image": end,
        "in the closing boundary's line end": end + 1,
        "inside the closing boundary": end + 12,
        "before the two hyphens": len(message) - 4,
        "between the two hyphens": len(message) - 3,
        "before the last line end": len(message) - 2,
        "in the last line end": len(message) - 1,
    }


NAMES = list(cuts(upload("t", IMAGE), IMAGE))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("framing", ["counted", "chunked"])
@pytest.mark.parametrize("leaving", ["closes", "vanishes"])
async def test_a_torn_upload_counts_nothing_and_leaves_nothing(
    site: Site, name: str, framing: str, leaving: str
) -> None:
    """Who closes has sent everything up to the cut; who vanishes may take back what is on its way."""
    async with wire(site) as peer:
        token = await peer.create()
        message = upload(token, IMAGE)
        sent = message[: cuts(message, IMAGE)[name]]
        if framing == "counted":
            await peer.say(peer.head(f"Content-Type: {mtom_type()}", f"Content-Length: {len(message)}"))
            await peer.say(sent)
        else:
            await peer.say(peer.head(f"Content-Type: {mtom_type()}", "Transfer-Encoding: chunked"))
            await peer.say(chunked(sent)[:-5])
        if leaving == "vanishes":
            peer.tear()
    async with wire(site) as again:
        await connections_left(site, 1)
        await no_temporary_files(site)
        assert await images_of(site, token) == 0
        assert (await again.upload(token, IMAGE)).status == 200
        assert await images_of(site, token) == 1


async def connections_left(site: Site, wanted: int) -> None:
    """Wait until the server has noticed that everybody else is gone, and does nothing for them any more."""
    assert site.server is not None
    async with asyncio.timeout(10):
        while site.server._hosts[0].connections > wanted or serving() > wanted:
            await asyncio.sleep(0.005)


def serving() -> int:
    """Return how many connections are being worked for; some are gone already."""
    coroutines = (task.get_coro() for task in asyncio.all_tasks())
    return sum(getattr(c, "__qualname__", "") == "Connection._serve" for c in coroutines)


@pytest.mark.parametrize("order", ["root last", "root first", "base64 in the root"])
async def test_a_whole_message_without_the_last_chunk_is_a_torn_one(site: Site, order: str) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        parts = [root_part(send_image(token)), image_part(IMAGE)]
        if order == "base64 in the root":
            parts = [root_part(send_image(token, image=base64.encodebytes(jpeg(1)).decode()))]
        message = frame(*(parts[::-1] if order == "root last" else parts))
        await peer.say(peer.head(f"Content-Type: {mtom_type()}", "Transfer-Encoding: chunked"))
        await peer.say(chunked(message)[:-5])
    await connections_left(site, 0)
    assert temporary_files(site) == []
    assert await images_of(site, token) == 0


async def test_an_image_in_the_root_does_not_count_when_a_later_part_is_torn(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        root = root_part(send_image(token, image=base64.encodebytes(jpeg(1)).decode()))
        message = frame(root, image_part(IMAGE))
        await peer.say(peer.head(f"Content-Type: {mtom_type()}", f"Content-Length: {len(message)}"))
        await peer.say(message[:-50_000])
    await connections_left(site, 0)
    assert await images_of(site, token) == 0


async def test_a_message_that_ends_before_its_closing_boundary_is_refused_with_a_fault(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        message = upload(token, IMAGE)
        for size in (len(message) - 10, message.index(IMAGE) + 100, 400, 10):
            answer = await peer.post(message[:size], mtom_type())
            assert (answer.status, answer.subcode) == (400, "Sender")
        assert await images_of(site, token) == 0
        assert temporary_files(site) == []


async def test_a_refused_upload_is_answered_to_a_peer_that_reads_only_after_sending_all(site: Site) -> None:
    """WSDAPI reads no answer before it has sent its whole request (trap 17)."""
    async with wire(site) as peer:
        body = upload("no-such-job", jpeg(1, 20_000_000))
        await peer.say(peer.head(f"Content-Type: {mtom_type()}", f"Content-Length: {len(body)}"))
        for at in range(0, len(body), 1_000_000):
            await peer.say(body[at : at + 1_000_000])
        answer = await peer.answer()
        assert answer.subcode == "ClientErrorJobTokenNotFound"
        assert await peer.works()


async def test_a_fault_comes_before_the_image_is_read(site: Site) -> None:
    """Whoever does listen while sending learns at once that it is in vain."""
    async with wire(site) as peer:
        body = upload("no-such-job", jpeg(1, 5_000_000))
        await peer.say(peer.head(f"Content-Type: {mtom_type()}", f"Content-Length: {len(body)}"))
        await peer.say(body[:5_000])
        assert (await peer.answer()).subcode == "ClientErrorJobTokenNotFound"
        await peer.say(body[5_000:])
        assert await peer.works()


@pytest.mark.parametrize(
    "line",
    ["Content-Length: 3221225472", "Content-Encoding: gzip\r\nContent-Length: 9000000", "Bad head"],
)
async def test_a_request_refused_from_its_head_is_answered_to_a_peer_that_sends_on(
    site: Site, line: str
) -> None:
    """A blocking client in a thread, as real ones are: first everything is sent, then the answer is read."""

    def talk() -> bytes:
        context = site.tls()
        port = urlsplit(site.url).port
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            tls.sendall(f"POST /ScanServer HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
            for _ in range(9):
                tls.sendall(b"x" * 1_000_000)
            return tls.recv(12)

    with_status = {"Content-L": b"413", "Content-E": b"415", "Bad head": b"400"}
    try:
        said = await asyncio.to_thread(talk)
    except (ConnectionError, ssl.SSLError) as error:
        pytest.fail(f"the answer was lost: {error}")
    assert said.split()[1] == with_status[line[:9]]

"""Abuse cases 1 to 5: XML that wants files, sockets, memory or time of the server."""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postscan.soap.names import DSP, WSA
from support.scanning import Site
from support.wire import (
    NAMESPACES,
    Answer,
    canary,
    envelope,
    frame,
    image_part,
    job_request,
    jobs_of,
    mtom_type,
    new_id,
    root_part,
    wire,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
END = f"{DSP}/EndPostScanJob"


def token(content: str) -> str:
    return f"<dsp:EndPostScanJobRequest><dsp:JobToken>{content}</dsp:JobToken></dsp:EndPostScanJobRequest>"


async def refused(site: Site, message: bytes) -> Answer:
    """Send a message as itself and as the root of an MTOM message; the connection must live on."""
    async with wire(site) as peer:
        answer = await peer.post(message)
        assert 400 <= answer.status < 500
        assert answer.subcode in ("Sender", "InvalidArgs", "InvalidMessageInformationHeader")
        assert await peer.works()
        packed = await peer.post(frame(root_part(message), image_part(b"x")), mtom_type())
        assert 400 <= packed.status < 500
        assert packed.subcode == answer.subcode or len(message) > 262_144
        assert await peer.works()
    return answer


def with_external_entity(address: str, kind: str) -> bytes:
    declared = {
        "general": f'<!DOCTYPE x [<!ENTITY e SYSTEM "{address}">]>',
        "parameter": f'<!DOCTYPE x [<!ENTITY % e SYSTEM "{address}"> %e;]>',
        "subset": f'<!DOCTYPE x SYSTEM "{address}">',
        "public": f'<!DOCTYPE x PUBLIC "-//X//Y" "{address}">',
    }[kind]
    return envelope(END, token("&e;" if kind == "general" else "t"), prolog=declared)


@pytest.mark.parametrize("kind", ["general", "parameter", "subset", "public"])
async def test_case_1_an_external_entity_opens_no_socket(site: Site, kind: str) -> None:
    async with canary() as bird:
        await refused(site, with_external_entity(bird.url, kind))


@pytest.mark.parametrize("kind", ["general", "parameter", "subset", "public"])
async def test_case_1_an_external_entity_opens_no_file(site: Site, tmp_path: Path, kind: str) -> None:
    """Whoever opened the FIFO would wait for a writer, and a writer would find a reader."""
    fifo = tmp_path / "secret"
    os.mkfifo(fifo)
    async with asyncio.timeout(10):
        await refused(site, with_external_entity(fifo.as_uri(), kind))
    with pytest.raises(OSError) as nobody:
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    assert nobody.value.errno == errno.ENXIO


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
async def test_case_1_no_encoding_hides_a_document_type(site: Site, encoding: str) -> None:
    message = with_external_entity("file:///etc/hostname", "general").decode()
    await refused(site, f'<?xml version="1.0" encoding="{encoding}"?>{message}'.encode(encoding))


async def test_case_1_the_kernel_sees_no_file_opened_and_nobody_called(tmp_path: Path) -> None:
    """The same parser under strace: neither our check nor libxml2 goes near the entity."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    program = (
        "import sys\n"
        "from postscan.soap import xml\n"
        "data = b'<!DOCTYPE a [<!ENTITY e SYSTEM \"file:///canary-in-the-mine\">]><a>&e;</a>'\n"
        "try:\n    xml.parse(data)\nexcept xml.XmlRefused:\n    print('refused')\n"
        "tree = xml.etree.fromstring(data, xml._parser())\n"
        "xml.etree.tostring(tree)\n"
        "print('parsed')\n"
    )
    log = tmp_path / "trace"
    run = await asyncio.to_thread(
        subprocess.run,
        [strace, "-f", "-e", "trace=file,network", "-o", str(log), sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if run.returncode != 0 and "ptrace" in run.stderr:
        pytest.skip(f"strace may not trace here: {run.stderr.strip()[:100]}")
    assert run.stdout.split() == ["refused", "parsed"]
    seen = log.read_text()
    assert "openat" in seen
    assert "canary-in-the-mine" not in seen
    assert "connect(" not in seen


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))


@pytest.mark.parametrize(
    "prolog",
    [
        f'<!DOCTYPE lolz [<!ENTITY l0 "lol">{LAUGHS}]>',
        f'<!DOCTYPE q [<!ENTITY a "{"a" * 50_000}">]>',
        "<!DOCTYPE empty>",
        '<!DOCTYPE e [<!ENTITY x "y">]>',
    ],
    ids=["billion laughs", "quadratic", "empty", "harmless"],
)
async def test_case_2_entities_are_refused_before_they_cost_anything(site: Site, prolog: str) -> None:
    await refused(site, envelope(END, token("&l8;"), prolog=prolog))


DEEP = "<dsp:X>" * 5_000 + "</dsp:X>" * 5_000
SHALLOW_BUT_TOO_DEEP = "<dsp:X>" * 70 + "</dsp:X>" * 70
MANY_ATTRIBUTES = "<dsp:X " + " ".join(f'a{n}="1"' for n in range(100_000)) + "/>"
SOME_ATTRIBUTES = "<dsp:X " + " ".join(f'a{n}="1"' for n in range(300)) + "/>"
MANY_NAMESPACES = "<dsp:X " + " ".join(f'xmlns:n{n}="urn:{n}"' for n in range(5_000)) + "/>"
MANY_ELEMENTS = "<dsp:X/>" * 25_000


@pytest.mark.parametrize(
    "content",
    [DEEP, SHALLOW_BUT_TOO_DEEP, MANY_ATTRIBUTES, SOME_ATTRIBUTES, MANY_NAMESPACES, MANY_ELEMENTS],
    ids=["5,000 levels", "70 levels", "100,000 attributes", "300 attributes", "namespaces", "elements"],
)
@pytest.mark.parametrize("where", ["body", "header"])
async def test_case_3_deep_and_wide_xml_is_refused(site: Site, content: str, where: str) -> None:
    body, headers = (token("t") + content, "") if where == "body" else (token("t"), content)
    await refused(site, envelope(END, body, headers=headers))


async def test_case_3_ten_megabytes_of_text_are_refused_and_the_connection_lives_on(site: Site) -> None:
    async with wire(site) as peer:
        answer = await peer.post(envelope(END, token("x" * 10_000_000)))
        assert answer.status == 413
        assert answer.subcode == "Sender"
        assert await peer.works()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"not xml",
        b"<",
        b"<a/>" * 2,
        b"\xff\xfe<\x00",
        b"\0" * 100,
        b"<soap:Envelope/>",
        b'<?xml version="1.0" encoding="ebcdic-cp-us"?><a/>',
        envelope(END, token("\x0b")),
        envelope(END, token("&unknown;")),
        envelope(END, token("t"))[:-5],
    ],
    ids=[
        "empty",
        "text",
        "torn",
        "two roots",
        "bad UTF-16",
        "NULs",
        "prefix",
        "EBCDIC",
        "VT",
        "entity",
        "cut",
    ],
)
async def test_case_3_what_is_no_xml_is_refused_with_a_fault(site: Site, message: bytes) -> None:
    await refused(site, message)


odd_text = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=60)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.sampled_from(["MessageID", "Action", "To", "ReplyTo", "FaultTo", "From", "RelatesTo", "Nonsense"]),
        max_size=5,
    ),
    odd_text,
    st.sampled_from(["", "<wsa:Address/>", "<wsa:Address>:// [</wsa:Address>", "<x/>", "urn:x"]),
)
async def test_case_5_odd_addressing_headers_never_give_an_internal_error(
    site: Site, names: list[str], text: str, inside: str
) -> None:
    plain = "".join(c for c in text if c.isprintable() and c not in "<&>")
    headers = "".join(f"<wsa:{name}>{plain}{inside}</wsa:{name}>" for name in names)
    message = (
        f"<soap:Envelope {NAMESPACES}><soap:Header>{headers}</soap:Header><soap:Body>{token('t')}</soap:Body>"
        "</soap:Envelope>"
    ).encode()
    async with wire(site) as peer:
        answer = await peer.post(message)
        assert answer.status == 400
        assert answer.fault.subcode is None or answer.fault.subcode.startswith(f"{{{WSA}}}")


async def test_case_5_a_message_id_of_a_megabyte_is_refused(site: Site) -> None:
    async with wire(site) as peer:
        answer = await peer.post(envelope(END, token("t"), message_id="urn:" + "x" * 1_000_000))
        assert answer.status == 413
        answer = await peer.post(envelope(END, token("t"), message_id="urn:" + "x" * 100_000))
        assert (answer.status, answer.subcode) == (400, "InvalidMessageInformationHeader")
        assert answer.detail == "wsa:MessageID"


async def test_no_refused_message_made_a_job(site: Site) -> None:
    async with wire(site) as peer:
        answer = await peer.post(job_request("EndPostScanJob", new_id()))
        assert answer.subcode == "ClientErrorJobTokenNotFound"
    assert await jobs_of(site) == 0

"""The client of WS-DSP: what it tries again, what it tells, whom it trusts."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postscan.cli.pki import create_ca
from postscan.contracts.keywords import DocumentFormat
from postscan.core.errors import ConfigurationError, PostscanError
from postscan.device.client import NoService, Patience, ScanServerClient, client_context
from postscan.device.refusals import advice_on
from postscan.dpws.client import RemoteFault, Unreachable, Untrusted
from postscan.soap.faults import SoapFault
from postscan.soap.names import DSP, SOAP, qname
from support.scanning import jpeg, running

Work = Callable[[], Awaitable[str]]


def fault(subcode: str, detail: str | None = None) -> RemoteFault:
    return RemoteFault(
        SoapFault(party=qname(SOAP, "Receiver"), subcode=qname(DSP, subcode), reason="because", detail=detail)
    )


def failing(*errors: Exception) -> tuple[Work, list[Exception]]:
    """Return work that fails with each error in turn, then succeeds, and the errors left."""
    left = list(errors)

    async def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work, left


def device(told: list[tuple[str, float]]) -> ScanServerClient:
    def note(failure: PostscanError, pause: float) -> None:
        told.append((str(failure), pause))

    return ScanServerClient(
        "https://localhost:1/ScanServer", patience=Patience(pauses=(0.0, 0.0)), on_retry=note
    )


async def test_what_time_can_heal_is_tried_again_and_told() -> None:
    told: list[tuple[str, float]] = []
    work, _ = failing(Unreachable("away"), fault("ServerErrorTemporaryError"))
    assert await device(told)._again(work) == "done"
    assert [words for words, _ in told] == [
        "away",
        "the server refused: ServerErrorTemporaryError: because",
    ]


async def test_patience_ends() -> None:
    told: list[tuple[str, float]] = []
    work, left = failing(*[Unreachable("away")] * 5)
    with pytest.raises(Unreachable):
        await device(told)._again(work)
    assert (len(told), len(left)) == (2, 2)


@pytest.mark.parametrize("error", [Untrusted("who is that"), fault("InvalidArgs", "dsp:Format")])
async def test_what_time_cannot_heal_is_not_tried_again(error: PostscanError) -> None:
    told: list[tuple[str, float]] = []
    work, _ = failing(error)
    with pytest.raises(type(error)):
        await device(told)._again(work)
    assert told == []


async def test_the_first_contact_takes_less_patience() -> None:
    told: list[float] = []
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        client = ScanServerClient(
            f"http://127.0.0.1:{bound.getsockname()[1]}/ScanServer",
            patience=Patience(pauses=(0.0,) * 9, finding=2),
            on_retry=lambda _failure, pause: told.append(pause),
        )
        async with client:
            with pytest.raises(Unreachable, match="Connection refused"):
                await client.find()
    assert len(told) == 2


async def test_an_image_sent_twice_is_one_image(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.device() as client:
        token = await client.create(await site.process(), (await site.user()).sid)
        for _ in range(2):
            await client.send_image(token, 1, DocumentFormat.JFIF, jpeg())
        assert (await client.status(token)).images_received == 1


async def test_an_image_is_sent_from_a_file_as_from_memory(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_bytes(jpeg(1, 600_000))
    async with running(tmp_path / "site") as site, site.device() as client:
        token = await client.create(await site.process(), (await site.user()).sid)
        await client.send_image(token, 1, DocumentFormat.JFIF, tmp_path / "page.jpg")
        await client.send_image(token, 1, DocumentFormat.JFIF, jpeg(1, 600_000))
        assert (await client.status(token)).images_received == 1


async def test_an_address_on_another_host_is_not_followed(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        url = site.url.replace("localhost", "127.0.0.1")
        async with ScanServerClient(url, tls=site.tls()) as client:
            with pytest.raises(NoService, match="points to another host: https://localhost:"):
                await client.find()


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (fault("FailedAuthentication"), "--cert"),
        (fault("InvalidArgs", "dsp:PSP_Identifier"), "postscan processes list"),
        (fault("InvalidArgs", "dsp:UserIdentifier"), "users.toml"),
        (fault("InvalidArgs"), "log"),
        (fault("OutOfDiskSpace"), "disk is full"),
        (fault("NoValidPostScanInstructionsFound", "psp:ScanRepository"), "fqdn"),
    ],
)
def test_a_refusal_comes_with_what_to_do(refusal: RemoteFault, words: str) -> None:
    assert words in advice_on(refusal)


def test_a_refusal_nobody_knows_comes_without_invented_advice() -> None:
    assert advice_on(fault("SomethingNew")) == ""


def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("hello")
    with pytest.raises(ConfigurationError, match=r"ca\.pem holds no certificate of an authority"):
        client_context(path)
    with pytest.raises(ConfigurationError, match=r"ca\.pem holds no PEM certificate"):
        client_context(None, path)


def test_a_certificate_that_is_not_valid_yet_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    from postscan.cli import pki

    monkeypatch.setattr(pki, "_BACKDATED", timedelta(days=-2))
    path = tmp_path / "early.pem"
    path.write_bytes(create_ca("Early").certificate_pem())
    with pytest.raises(ConfigurationError, match="is not valid before"):
        client_context(None, path)

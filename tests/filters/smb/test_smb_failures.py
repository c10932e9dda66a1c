"""Every failure has its reason, its words, and says whether time heals it: each with a real cause."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from postscan.contracts.keywords import FilterStateReason
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError
from postscan.filters.smb.folder import SmbFile
from postscan.filters.smb.servers import Encryption
from support.smb import ALICES, FIRST, SmbSite, at, relay, without_signature
from testservers.fileserver import DISABLED, SCANNER, FileServer, free_port

DENIED = FilterStateReason.FILE_SHARE_ACCESS_DENIED
FULL = FilterStateReason.FILE_SHARE_OUT_OF_DISK_SPACE
UNKNOWN = FilterStateReason.UNKNOWN_ERROR


async def failure(smb: SmbSite, to: str = "scans", size: int = 100) -> DeliveryError:
    """Deliver a document, and return why that fails; checks that it leaves nothing and has advice."""
    with pytest.raises(DeliveryError) as raised:
        await smb.deliver(smb.document(content=os.urandom(size)), to=to)
    assert smb.ledger.done == {}
    assert raised.value.what_to_do
    assert SCANNER.password not in str(raised.value) + raised.value.what_to_do
    return raised.value


def the_folder_is_closed(smb: SmbSite) -> None:
    smb.server.folder("scans").chmod(0o555)


def nothing(smb: SmbSite) -> None:
    del smb


@pytest.mark.parametrize(
    ("to", "cause", "reason", "transient", "words"),
    [
        ("readonly", nothing, DENIED, False, "does not let scanner open or make the folder"),
        ("others", nothing, DENIED, False, "does not let scanner open"),
        ("scans", the_folder_is_closed, DENIED, False, "does not let scanner open or make the folder"),
        ("nosuch", nothing, UNKNOWN, True, "has no such share"),
        (r"scans\nosuch", nothing, UNKNOWN, True, "the folder is not there"),
        (r"scans\no\such", nothing, UNKNOWN, True, "the folder is not there"),
    ],
    ids=["read-only", "not a valid user", "directory mode", "no share", "no folder", "no folder above"],
)
async def test_what_the_server_refuses_is_told_apart(
    smb: SmbSite,
    to: str,
    cause: Callable[[SmbSite], None],
    reason: FilterStateReason,
    transient: bool,
    words: str,
) -> None:
    cause(smb)
    error = await failure(smb, to)
    assert (error.reason, error.transient) == (reason, transient)
    assert words in str(error)


@pytest.mark.parametrize(
    ("account", "words"),
    [
        (dataclasses.replace(SCANNER, password="wrong"), "the account or its password is wrong"),
        (dataclasses.replace(SCANNER, name="nobody9"), "the account or its password is wrong"),
        (DISABLED, "the account is disabled"),
    ],
    ids=["wrong password", "no such account", "disabled"],
)
async def test_an_account_that_is_not_let_in_is_a_failure_that_time_does_not_heal(
    smb: SmbSite, account: object, words: str
) -> None:
    smb.use(at(smb.server.port, account))  # type: ignore[arg-type] # an Account
    error = await failure(smb)
    assert (error.reason, error.transient) == (DENIED, False)
    assert words in str(error)
    assert "postscan secrets set fileshare.localhost.password" in error.what_to_do


async def test_a_corrected_password_is_used_without_a_restart(smb: SmbSite) -> None:
    now = [Secret("wrong")]
    smb.use_server(password=lambda: now[0])
    await failure(smb)
    now[0] = Secret(SCANNER.password)
    await smb.deliver(smb.document())
    assert len(smb.content()) == 1


async def test_a_missing_password_says_what_to_do_and_is_tried_again(smb: SmbSite) -> None:
    def missing() -> Secret:
        raise ConfigurationError("the secret fileshare.localhost.password is missing", advice="Enter it.")

    smb.use_server(password=missing)
    error = await failure(smb)
    assert (error.reason, error.transient, error.what_to_do) == (DENIED, True, "Enter it.")


async def test_a_share_that_is_full_loses_the_partial_file_and_is_delivered_to_once_there_is_room(
    smb: SmbSite,
) -> None:
    filler = smb.server.folder("tiny") / "filler"
    filler.write_bytes(bytes(3 << 20))
    document = smb.document(content=os.urandom(2 << 20))
    with pytest.raises(DeliveryError) as raised:
        await smb.deliver(document, to="tiny")
    assert (raised.value.reason, raised.value.transient) == (FULL, True)
    assert "no room: the disk is full" in str(raised.value)
    assert set(smb.content("tiny")) == {"filler"}
    filler.unlink()
    await smb.deliver(document, to="tiny")
    assert set(smb.content("tiny")) == {f"{ALICES}/{FIRST}"}


async def test_a_document_that_can_never_fit_leaves_nothing(smb: SmbSite) -> None:
    error = await failure(smb, "tiny", 12 << 20)
    assert error.reason is FULL
    assert smb.content("tiny") == {}


async def test_a_file_where_the_users_folder_should_be_is_told(smb: SmbSite) -> None:
    (smb.server.folder("scans") / ALICES).write_bytes(b"a file")
    error = await failure(smb)
    assert (error.reason, error.transient) == (UNKNOWN, False)
    assert "something other than a folder" in str(error)


async def test_a_file_where_the_target_should_be_is_told(smb: SmbSite) -> None:
    (smb.server.folder("scans") / "inbox").write_bytes(b"a file")
    error = await failure(smb, r"scans\inbox")
    assert (error.reason, error.transient) == (UNKNOWN, False)


async def test_a_name_the_server_does_not_allow_is_an_invalid_argument(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Names made here are safe everywhere; this is what another server's rules would lead to.
    rename = SmbFile.rename
    monkeypatch.setattr(SmbFile, "rename", lambda self, name: rename(self, f"{name}?"))
    error = await failure(smb)
    assert (error.reason, error.transient) == (FilterStateReason.INVALID_ARGS, False)
    assert "takes no such name" in str(error)
    assert smb.content() == {}


async def test_a_server_that_is_stopped_is_away(smb: SmbSite) -> None:
    smb.server.stop()
    error = await failure(smb)
    assert (error.reason, error.transient) == (UNKNOWN, True)
    assert "localhost is away" in str(error)
    smb.server.start()
    await smb.deliver(smb.document())
    assert len(smb.content()) == 1


async def test_a_host_that_has_no_address_is_away(smb: SmbSite) -> None:
    smb.use(at(smb.server.port, host="nosuch.invalid", connect_to=""))
    smb.host = "nosuch.invalid"
    error = await failure(smb)
    assert error.transient
    assert "nosuch.invalid is away" in str(error)


async def test_a_closed_port_is_away(smb: SmbSite) -> None:
    smb.use(at(free_port()))
    error = await failure(smb)
    assert error.transient
    assert "Connection refused" in str(error)


async def test_a_listener_that_never_answers_is_away(smb: SmbSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        smb.use(at(mute.getsockname()[1], connect_seconds=1))
        error = await failure(smb)
    assert error.transient
    assert "does not answer" in str(error)


@pytest.mark.parametrize(
    "greeting",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x04\0\0\0\0", b"\0\0\0\x80" + bytes(128), b""],
    ids=["http", "short", "zeros", "nothing"],
)
async def test_what_speaks_no_smb_is_a_failure_in_words(smb: SmbSite, greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(65_536)
                client.sendall(greeting)

        talking = asyncio.create_task(asyncio.to_thread(greet))
        smb.use(at(listener.getsockname()[1], connect_seconds=5))
        error = await failure(smb)
        await talking
    assert error.transient


async def test_a_frozen_server_is_away_and_what_it_held_is_delivered_once_it_thaws(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    smb.use_server(answer_seconds=1)
    write = SmbFile.write

    def freezing(self: SmbFile, octets: bytes, offset: int) -> None:
        smb.server.freeze()
        write(self, octets, offset)

    with monkeypatch.context() as patch:
        patch.setattr(SmbFile, "write", freezing)
        error = await failure(smb)
    assert error.transient
    smb.server.thaw()
    await _delivered_in_the_end(smb)
    assert set(smb.content()) == {f"{ALICES}/{FIRST}"}


async def _delivered_in_the_end(smb: SmbSite) -> None:
    # The server notices only after a moment that nobody holds the temporary file any more.
    document = smb.document()
    while not smb.ledger.done:
        try:
            await smb.deliver(document)
        except DeliveryError as error:
            if not error.transient:
                raise
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("_samba")
async def test_a_server_that_takes_everybody_for_a_guest_is_refused(tmp_path: Path) -> None:
    with FileServer(tmp_path / "other", options={"map to guest": "bad password"}) as server:
        site = SmbSite(server, tmp_path / "spool")
        site.use(at(server.port, dataclasses.replace(SCANNER, password="wrong")))
        error = await failure(site)
        assert site.content() == {}
    assert error.reason is DENIED
    assert "guest" in str(error)


@pytest.mark.usefixtures("_samba")
async def test_encryption_that_is_required_and_not_there_is_a_failure(tmp_path: Path) -> None:
    with FileServer(tmp_path / "other", options={"server smb encrypt": "off"}) as server:
        site = SmbSite(server, tmp_path / "spool")
        site.use_server(encryption=Encryption.REQUIRED)
        error = await failure(site)
    assert (error.reason, error.transient) == (DENIED, False)
    assert "does not encrypt" in str(error)


@pytest.mark.usefixtures("_samba")
async def test_an_answer_whose_signature_was_taken_away_is_not_believed(tmp_path: Path) -> None:
    seen: list[int] = []

    def unsign(message: bytes) -> bytes:
        command = int.from_bytes(message[12:14], "little")
        seen.append(command)
        # All but negotiating and logging on, which have proofs of their own.
        return without_signature(message) if command > 1 else message

    with (
        FileServer(tmp_path / "other", options={"server smb encrypt": "off"}) as server,
        relay(server.port, unsign) as between,
    ):
        site = SmbSite(server, tmp_path / "spool")
        site.use(at(between.port))
        error = await failure(site)
        assert site.content() == {}
    assert "without signature" in str(error)
    assert max(seen) == 3  # the first answer after the logon was the last


@pytest.mark.usefixtures("_samba")
async def test_an_answer_that_was_changed_on_the_way_is_not_believed(tmp_path: Path) -> None:
    def change(message: bytes) -> bytes:
        command = int.from_bytes(message[12:14], "little")
        return message[:-1] + bytes([message[-1] ^ 1]) if command > 1 else message

    with (
        FileServer(tmp_path / "other", options={"server smb encrypt": "off"}) as server,
        relay(server.port, change) as between,
    ):
        site = SmbSite(server, tmp_path / "spool")
        site.use(at(between.port))
        error = await failure(site)
    assert error.transient


async def test_a_missing_image_is_a_failure_of_its_own(smb: SmbSite) -> None:
    document = smb.document()
    document.path.unlink()
    with pytest.raises(DeliveryError) as raised:
        await smb.deliver(document)
    assert not raised.value.transient
    assert "spool" in str(raised.value)
    assert smb.content() == {}


async def test_an_image_that_changed_in_the_spool_is_not_delivered(smb: SmbSite) -> None:
    document = smb.document()
    document.path.write_bytes(document.path.read_bytes()[:-1] + b"!")
    with pytest.raises(DeliveryError) as raised:
        await smb.deliver(document)
    assert "changed in the spool" in str(raised.value)
    assert smb.content() == {}

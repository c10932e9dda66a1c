"""Controllers that are away, mute, rude or false: each ends in time with the right error (abuse case 39)."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postscan.cli.pki import create_ca, issue_server, write_pair
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.directory.ldap.answers import MalformedMessage
from postscan.directory.ldap.binding import SimplePassword
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.filters import present
from postscan.directory.ldap.model import (
    Change,
    CredentialsRefused,
    DirectoryAway,
    DirectoryUntrusted,
    OutcomeUnknown,
    Scope,
)
from postscan.directory.ldap.model import Operation as Modification
from postscan.directory.ldap.settings import LdapSettings, Transport
from support.ldap_server import Behaviour, ControllerState, Operation, controller

# Long enough for a busy computer to answer, short enough to wait for what never comes.
_PATIENT = 20.0
_SHORT = 0.3


def settings(*ports: int, transport: Transport = Transport.INSECURE_PLAIN, **further: object) -> LdapSettings:
    values: dict[str, object] = {
        "domain": "dsm.test",
        "credentials": SimplePassword("alice@DSM.TEST", Secret("Al1ce-Passw0rd")),
        "controllers": tuple(f"localhost:{port}" for port in ports),
        "transport": transport,
        "connect_seconds": _PATIENT,
        "answer_seconds": _PATIENT,
    }
    return LdapSettings(**(values | further))  # type: ignore[arg-type]


@asynccontextmanager
async def client(*ports: int, **further: object) -> AsyncIterator[Ldap]:
    ldap = Ldap(settings(*ports, **further))  # type: ignore[arg-type]
    try:
        yield ldap
    finally:
        await ldap.close()


@pytest.fixture
def pki(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """Return a file of authorities, and the context of a server (localhost) whose certificate is of one."""
    authority = create_ca("Test")
    pair = issue_server(authority, "localhost")
    write_pair(pair, tmp_path / "server.pem", tmp_path / "server.key")
    write_pair(authority, tmp_path / "ca.pem", tmp_path / "ca.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    return tmp_path / "ca.pem", context


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@asynccontextmanager
async def listener(*said: bytes, close: bool = False) -> AsyncIterator[int]:
    """Accept connections, say something at once, and read on in silence (or close)."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        for octets in said:
            writer.write(octets)
        if close:
            await reader.read(1)
            writer.close()
            return
        while await reader.read(65536):
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def everything(ldap: Ldap) -> list[str]:
    return [entry.dn for entry in await ldap.search("", Scope.SUBTREE, present("objectClass"), ["cn"])]


async def test_a_refused_port_is_told() -> None:
    async with client(free_port()) as ldap:
        with pytest.raises(DirectoryAway, match="cannot be reached"):
            await everything(ldap)


async def test_a_name_that_does_not_exist_is_told() -> None:
    async with client(controllers=("nowhere.invalid",)) as ldap:
        with pytest.raises(DirectoryAway, match=r"nowhere\.invalid:389 cannot be reached"):
            await everything(ldap)


async def test_name_servers_that_hang_hold_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """They often are the controllers that hang. What the program does in threads of its own goes on."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(100))
    executor = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    try:
        for _ in range(3):
            async with client(controllers=("dc1.dsm.test",), connect_seconds=0.1) as ldap:
                with pytest.raises(DirectoryAway, match=r"dc1\.dsm\.test:389 cannot be reached"):
                    await everything(ldap)
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(lambda: "done") == "done"
    finally:
        release.set()


@pytest.mark.parametrize("name", ["a..b", "ä" * 80, "x" * 70 + ".dsm.test"])
async def test_a_name_that_dns_cannot_hold_is_told(name: str) -> None:
    async with client(controllers=(name,)) as ldap:
        with pytest.raises(DirectoryAway, match="cannot be reached"):
            await everything(ldap)


@pytest.mark.parametrize("transport", [Transport.LDAPS, Transport.STARTTLS, Transport.INSECURE_PLAIN])
async def test_a_mute_server_ends_within_its_deadline(transport: Transport) -> None:
    async with (
        listener() as port,
        client(port, transport=transport, connect_seconds=_SHORT, answer_seconds=_SHORT) as ldap,
    ):
        with pytest.raises(DirectoryAway, match=r"within 0\.3 s"):
            await everything(ldap)


async def test_half_a_tls_handshake_ends_within_its_deadline() -> None:
    record = b"\x16\x03\x03\x40\x00" + b"\x02"  # a long ServerHello begins
    async with (
        listener(record) as port,
        client(port, transport=Transport.LDAPS, connect_seconds=_SHORT) as ldap,
    ):
        with pytest.raises(DirectoryAway, match=r"within 0\.3 s"):
            await everything(ldap)


async def test_a_server_that_closes_during_the_tls_handshake_is_away() -> None:
    async with listener(close=True) as port, client(port, transport=Transport.LDAPS) as ldap:
        with pytest.raises(DirectoryAway, match="closed"):
            await everything(ldap)


async def test_a_server_without_tls_where_tls_is_expected_is_not_trusted() -> None:
    async with (
        listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port,
        client(port, transport=Transport.LDAPS) as ldap,
    ):
        with pytest.raises(DirectoryUntrusted, match="TLS could not be agreed"):
            await everything(ldap)


async def test_a_certificate_of_an_unknown_authority_is_not_trusted(
    pki: tuple[Path, ssl.SSLContext],
) -> None:
    state = ControllerState()
    async with controller(state, tls=pki[1]) as port, client(port, transport=Transport.LDAPS) as ldap:
        with pytest.raises(DirectoryUntrusted, match="not trusted"):
            await everything(ldap)
    assert state.asked == []


async def test_a_certificate_for_another_name_is_not_trusted(pki: tuple[Path, ssl.SSLContext]) -> None:
    state = ControllerState()
    async with (
        controller(state, tls=pki[1]) as port,
        client(controllers=(f"127.0.0.1:{port}",), transport=Transport.LDAPS, ca=pki[0]) as ldap,
    ):
        with pytest.raises(DirectoryUntrusted, match=r"not valid for '127\.0\.0\.1'"):
            await everything(ldap)
    assert state.asked == []


async def test_tls_older_than_1_2_is_not_agreed(pki: tuple[Path, ssl.SSLContext]) -> None:
    pki[1].set_ciphers("ALL:@SECLEVEL=0")
    pki[1].minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        pki[1].maximum_version = ssl.TLSVersion.TLSv1_1
    state = ControllerState()
    async with (
        controller(state, tls=pki[1]) as port,
        client(port, transport=Transport.LDAPS, ca=pki[0]) as ldap,
    ):
        with pytest.raises((DirectoryUntrusted, DirectoryAway)):  # as the server says why, or only closes
            await everything(ldap)
    assert state.asked == []


async def test_the_same_server_is_trusted_with_its_authority(pki: tuple[Path, ssl.SSLContext]) -> None:
    async with (
        controller(ControllerState(), tls=pki[1]) as port,
        client(port, transport=Transport.LDAPS, ca=pki[0]) as ldap,
    ):
        assert await everything(ldap) == ["CN=a"]
        assert (await ldap.facts()).tls in {"TLSv1.2", "TLSv1.3"}


async def test_a_file_of_authorities_that_is_none_is_a_matter_of_settings(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    async with client(1, transport=Transport.LDAPS, ca=tmp_path / "ca.pem") as ldap:
        with pytest.raises(ConfigurationError, match="PEM"):
            await everything(ldap)


async def test_start_tls_protects_what_follows(pki: tuple[Path, ssl.SSLContext]) -> None:
    state = ControllerState()
    async with (
        controller(state, start_tls=pki[1]) as port,
        client(port, transport=Transport.STARTTLS, ca=pki[0]) as ldap,
    ):
        assert await everything(ldap) == ["CN=a"]
    assert state.asked[:2] == [Operation.EXTENDED, Operation.BIND]


async def test_a_password_is_not_sent_where_start_tls_is_refused() -> None:
    state = ControllerState()
    async with controller(state) as port, client(port, transport=Transport.STARTTLS) as ldap:
        with pytest.raises(DirectoryUntrusted, match="does not start TLS"):
            await everything(ldap)
    assert Operation.BIND not in state.asked


async def test_what_stands_in_clear_behind_the_answer_to_start_tls_is_not_believed(
    pki: tuple[Path, ssl.SSLContext],
) -> None:
    state = ControllerState(after_tls_answer=b"\x30\x0c\x02\x01")
    async with (
        controller(state, start_tls=pki[1]) as port,
        client(port, transport=Transport.STARTTLS, ca=pki[0]) as ldap,
    ):
        with pytest.raises(DirectoryUntrusted, match="in clear"):
            await everything(ldap)
    assert Operation.BIND not in state.asked


@pytest.mark.parametrize(
    ("behaviour", "error", "words"),
    [
        (Behaviour.HANG_UP, DirectoryAway, "closed the connection"),
        (Behaviour.HANG_UP_HALF_WAY, DirectoryAway, "in the middle of an answer"),
        (Behaviour.GARBAGE, MalformedMessage, "not LDAP"),
        (Behaviour.DISCONNECT, DirectoryAway, "shutting down"),
        (Behaviour.ANSWER_ANOTHER, MalformedMessage, "not asked"),
        (Behaviour.BUSY, DirectoryAway, "no time just now.*try later"),
    ],
)
@pytest.mark.parametrize("operation", [Operation.BIND, Operation.SEARCH])
async def test_a_controller_that_fails_is_told_about(
    operation: Operation, behaviour: Behaviour, error: type[DirectoryAway], words: str
) -> None:
    state = ControllerState(behaviour={operation: behaviour})
    async with controller(state) as port, client(port) as ldap:
        with pytest.raises(error, match=words):
            await everything(ldap)


async def test_a_search_without_answer_ends_within_its_deadline() -> None:
    state = ControllerState(behaviour={Operation.SEARCH: Behaviour.SILENT})
    async with controller(state) as port, client(port, answer_seconds=_SHORT) as ldap:
        with pytest.raises(DirectoryAway, match=r"did not answer within 0\.3 s"):
            await everything(ldap)


@pytest.mark.parametrize("behaviour", [Behaviour.HANG_UP, Behaviour.BUSY, Behaviour.GARBAGE])
async def test_reading_is_repeated_at_another_controller(behaviour: Behaviour) -> None:
    failing = ControllerState(behaviour={Operation.SEARCH: behaviour})
    async with (
        controller(failing) as first,
        controller(ControllerState(objects={"CN=b": {}})) as second,
        client(first, second) as ldap,
    ):
        assert await everything(ldap) == ["CN=b"]
    assert failing.asked.count(Operation.SEARCH) == 1


async def test_reading_is_repeated_once_and_not_for_ever() -> None:
    state = ControllerState(behaviour={Operation.SEARCH: Behaviour.HANG_UP})
    async with controller(state) as port, client(port) as ldap:
        with pytest.raises(DirectoryAway):
            await everything(ldap)
    assert state.asked.count(Operation.SEARCH) == 2


async def test_a_dead_first_controller_is_passed_over() -> None:
    async with controller(ControllerState()) as port, client(free_port(), port) as ldap:
        assert await everything(ldap) == ["CN=a"]


async def test_a_mute_first_controller_is_passed_over_and_asked_last_from_then_on() -> None:
    mute = ControllerState(behaviour={Operation.BIND: Behaviour.SILENT})
    well = ControllerState(behaviour={Operation.SEARCH: Behaviour.HANG_UP})
    async with (
        controller(mute) as first,
        controller(well) as second,
        controller(ControllerState()) as third,
        client(first, second, third, answer_seconds=2.0) as ldap,
    ):
        assert await everything(ldap) == ["CN=a"]
    assert mute.connections == 1


async def test_the_controller_that_works_is_kept() -> None:
    one, other = ControllerState(), ControllerState()
    async with (
        controller(one, tls=None) as first,
        controller(other) as second,
        client(first, second) as ldap,
    ):
        for _ in range(5):
            await everything(ldap)
    assert (one.connections, other.connections) == (1, 0)


@pytest.mark.parametrize(
    ("operation", "behaviour"),
    [
        (Operation.ADD, Behaviour.HANG_UP),
        (Operation.MODIFY, Behaviour.SILENT),
        (Operation.DELETE, Behaviour.GARBAGE),
        (Operation.DELETE, Behaviour.HANG_UP_HALF_WAY),
    ],
)
async def test_a_change_whose_outcome_is_not_known_is_not_repeated(
    operation: Operation, behaviour: Behaviour
) -> None:
    failing, other = ControllerState(behaviour={operation: behaviour}), ControllerState()
    async with (
        controller(failing) as first,
        controller(other) as second,
        client(first, second, answer_seconds=2.0 if behaviour is Behaviour.SILENT else _PATIENT) as ldap,
    ):
        with pytest.raises(OutcomeUnknown, match="not known whether this took effect") as told:
            await change(ldap, operation)
    assert not told.value.retry_helps
    assert [*failing.asked, *other.asked].count(operation) == 1


async def test_a_change_that_a_busy_controller_refused_did_not_happen() -> None:
    state = ControllerState(behaviour={Operation.ADD: Behaviour.BUSY})
    async with controller(state) as port, client(port) as ldap:
        with pytest.raises(DirectoryAway) as told:
            await change(ldap, Operation.ADD)
    assert not isinstance(told.value, OutcomeUnknown)


async def test_a_change_goes_to_another_controller_when_the_first_cannot_be_reached() -> None:
    state = ControllerState()
    async with controller(state) as port, client(free_port(), port) as ldap:
        await change(ldap, Operation.ADD)
    assert state.asked.count(Operation.ADD) == 1


async def change(ldap: Ldap, operation: Operation) -> None:
    match operation:
        case Operation.ADD:
            await ldap.add("CN=new", {"cn": [b"new"]})
        case Operation.MODIFY:
            await ldap.modify("CN=a", [Change(Modification.REPLACE, "cn", (b"b",))])
        case _:
            await ldap.delete("CN=a")


async def test_refused_credentials_are_tried_once_at_one_controller() -> None:
    states = [ControllerState(behaviour={Operation.BIND: Behaviour.REFUSE_CREDENTIALS}) for _ in range(2)]
    async with (
        controller(states[0]) as first,
        controller(states[1]) as second,
        client(first, second) as ldap,
    ):
        outcomes = await asyncio.gather(*(everything(ldap) for _ in range(8)), return_exceptions=True)
        with pytest.raises(CredentialsRefused, match="password is wrong"):
            await everything(ldap)
    assert {type(outcome) for outcome in outcomes} == {CredentialsRefused}
    assert [len(state.asked) for state in states] == [1, 0]


async def test_refused_credentials_are_tried_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("postscan.directory.ldap.pool._now", lambda: now)
    state = ControllerState(behaviour={Operation.BIND: Behaviour.REFUSE_CREDENTIALS})
    tried = []
    async with controller(state) as only, client(only) as ldap:
        for minute in range(121):
            now = minute * 60.0
            before = len(state.asked)
            with pytest.raises(CredentialsRefused):
                await everything(ldap)
            if len(state.asked) > before:
                tried.append(minute)
    assert tried == [0, 1, 5, 21, 51, 81, 111]


async def test_a_password_that_is_right_again_is_taken_when_the_pause_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("postscan.directory.ldap.pool._now", lambda: now)
    state = ControllerState(behaviour={Operation.BIND: Behaviour.REFUSE_CREDENTIALS})
    async with controller(state) as only, client(only) as ldap:
        with pytest.raises(CredentialsRefused):
            await everything(ldap)
        now = 60.0
        with pytest.raises(CredentialsRefused):
            await everything(ldap)
        state.behaviour.clear()
        now = 299.0
        with pytest.raises(CredentialsRefused):
            await everything(ldap)
        now = 300.0
        await everything(ldap)


async def test_another_password_is_taken_at_once_where_it_comes_from() -> None:
    state = ControllerState(behaviour={Operation.BIND: Behaviour.REFUSE_CREDENTIALS})
    entered = [Secret("old")]
    credentials = SimplePassword("svc@dsm.test", entered[0], lambda: entered[-1])
    async with controller(state) as only, client(only, credentials=credentials) as ldap:
        with pytest.raises(CredentialsRefused):
            await everything(ldap)
        state.behaviour.clear()
        with pytest.raises(CredentialsRefused):
            await everything(ldap)
        entered.append(Secret("new"))
        await everything(ldap)


async def test_a_password_that_cannot_be_read_again_is_used_as_it_was() -> None:
    def gone() -> Secret:
        raise ConfigurationError("the file is not there")

    credentials = SimplePassword("svc@dsm.test", Secret("right"), gone)
    async with controller(ControllerState()) as only, client(only, credentials=credentials) as ldap:
        await everything(ldap)


async def test_references_to_elsewhere_are_left_alone() -> None:
    state = ControllerState(behaviour={Operation.SEARCH: Behaviour.REFER})
    async with controller(state) as port, client(port) as ldap:
        assert await everything(ldap) == ["CN=a"]


async def test_a_request_that_is_given_up_does_not_disturb_the_next() -> None:
    state = ControllerState(behaviour={Operation.SEARCH: Behaviour.SILENT})
    async with controller(state) as port, client(port) as ldap:
        waiting = asyncio.create_task(everything(ldap))
        while Operation.SEARCH not in state.asked:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        state.behaviour.clear()
        assert await everything(ldap) == ["CN=a"]
    assert state.connections == 2


async def test_no_more_connections_are_made_than_the_pool_has() -> None:
    state = ControllerState()
    async with controller(state) as port, client(port, pool_size=2) as ldap:
        found = await asyncio.gather(*(everything(ldap) for _ in range(20)))
    assert found == [["CN=a"]] * 20
    assert state.connections <= 2


async def test_a_closed_client_asks_no_more() -> None:
    state = ControllerState()
    async with controller(state) as port, client(port) as ldap:
        await everything(ldap)
        await ldap.close()
        with pytest.raises(DirectoryAway, match="not used any more"):
            await everything(ldap)
    assert state.asked[-1] is Operation.UNBIND


async def test_a_change_goes_over_a_new_connection_when_the_old_one_ended() -> None:
    state = ControllerState()
    async with controller(state) as port, client(port) as ldap:
        await everything(ldap)
        state.behaviour[Operation.SEARCH] = Behaviour.HANG_UP
        with pytest.raises(DirectoryAway):
            await everything(ldap)
        await change(ldap, Operation.ADD)
    assert state.asked.count(Operation.ADD) == 1


async def test_no_error_tells_the_password() -> None:
    state = ControllerState(behaviour={Operation.BIND: Behaviour.REFUSE_CREDENTIALS})
    async with controller(state) as port, client(port) as ldap:
        with pytest.raises(CredentialsRefused) as told:
            await everything(ldap)
    shown = f"{told.value!s} {told.value!r} {told.value.what_to_do} {settings(1)!r}"
    assert "Al1ce" not in shown

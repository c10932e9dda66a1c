"""Which addresses a subscriber may make the server call (abuse case 15)."""

import asyncio
import ipaddress
import socket
import threading

import pytest

from postscan.dpws import addresses, notify_policy
from postscan.dpws.notify_policy import NotifyPolicy, NotifyPorts, NotifyRefused

OWN = "192.0.2.7"


@pytest.mark.parametrize(
    ("url", "peer", "address"),
    [
        ("http://192.0.2.7:5357/x", OWN, OWN),
        ("https://192.0.2.7/x", OWN, OWN),
        ("HTTP://192.0.2.7/", OWN, OWN),
        ("http://192.0.2.7/", "::ffff:192.0.2.7", OWN),
        ("http://[::ffff:192.0.2.7]/", OWN, OWN),
        ("http://[2001:db8::7]:80/", "2001:db8::7", "2001:db8::7"),
    ],
)
async def test_the_subscribers_own_address_is_allowed(url: str, peer: str, address: str) -> None:
    assert await NotifyPolicy().check(url, peer) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.8/",
        "http://10.0.0.1/",
        "http://[2001:db8::1]/",
        "ftp://192.0.2.7/",
        "//192.0.2.7/",
        "192.0.2.7",
        "http:192.0.2.7",
        "http://192.0.2.7@192.0.2.8/",
        "http://user@192.0.2.7/",
        "http://:secret@192.0.2.7/",
        "http://192.0.2.7:0x50/",
        "http://192.0.2.7:70000/",
        "http://[192.0.2.7]/",
        "http://[::1",
        "http://" + "a" * 64 + ".example/",
        "http://a..example/",
        "http://\u0000/",
        "",
    ],
)
async def test_any_other_address_and_what_is_none_is_refused(url: str) -> None:
    with pytest.raises(NotifyRefused) as refused:
        await NotifyPolicy().check(url, OWN)
    assert refused.value.detail == "wsa:Address"


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "224.0.0.1", "239.255.255.250", "0.0.0.0", "[fe80::1]", "[ff02::c]", "[::]"],
)
async def test_link_local_multicast_and_unspecified_addresses_are_refused_even_to_themselves(
    address: str,
) -> None:
    policy = NotifyPolicy(hosts=frozenset({address.strip("[]")}), allow_loopback=True)
    with pytest.raises(NotifyRefused):
        await policy.check(f"http://{address}/", address.strip("[]"))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.10", "[::1]", "[::ffff:127.0.0.1]", "localhost", "127.1"]
)
async def test_loopback_is_refused_unless_it_is_allowed(host: str) -> None:
    with pytest.raises(NotifyRefused):
        await NotifyPolicy().check(f"http://{host}/", "127.0.0.1")


async def test_loopback_can_be_allowed() -> None:
    policy = NotifyPolicy(allow_loopback=True)
    assert await policy.check("http://127.0.0.1:5000/", "127.0.0.1") == "127.0.0.1"
    with pytest.raises(NotifyRefused):
        await policy.check("http://127.0.0.2:5000/", "127.0.0.1")


async def test_hosts_of_the_settings_are_allowed_by_name_and_by_address() -> None:
    policy = NotifyPolicy(hosts=frozenset({"10.1.2.3", "localhost"}), allow_loopback=True)
    assert await policy.check("http://10.1.2.3/", OWN) == "10.1.2.3"
    assert await policy.check("http://LOCALHOST/", OWN) in ("127.0.0.1", "::1")


async def test_name_servers_that_do_not_answer_hold_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = threading.Event(), threading.Semaphore(0)

    def dead(*_: object, **__: object) -> None:
        asked.release()
        answer.wait(20)
        raise OSError("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", dead)
    checks = [asyncio.create_task(NotifyPolicy().check(f"http://h{n}.example/", OWN)) for n in range(64)]
    try:
        async with asyncio.timeout(10):
            while not asked.acquire(blocking=False):
                await asyncio.sleep(0)
            # Directory, spool and store use the loop's own threads.
            assert await asyncio.to_thread(int, "7") == 7
            assert await NotifyPolicy().check(f"http://{OWN}/", OWN) == OWN
    finally:
        answer.set()
    outcomes = await asyncio.gather(*checks, return_exceptions=True)
    assert all(isinstance(outcome, NotifyRefused) for outcome in outcomes)


async def test_a_name_that_takes_too_long_to_look_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(20))
    monkeypatch.setattr(addresses, "_LOOK_UP_SECONDS", 0.01)
    try:
        with pytest.raises(NotifyRefused):
            await NotifyPolicy().check("http://device.example/", OWN)
    finally:
        answer.set()


@pytest.mark.parametrize("port", [1, 21, 22, 25, 110, 445, 631, 1023, 3306, 3389, 6379, 9100, 11211])
async def test_ports_of_other_services_are_refused_even_at_the_subscribers_own_address(port: int) -> None:
    with pytest.raises(NotifyRefused):
        await NotifyPolicy().check(f"http://{OWN}:{port}/", OWN)


@pytest.mark.parametrize("port", [80, 443, 1024, 5357, 5358, 8080, 49152, 65535])
async def test_ports_that_devices_listen_at_are_allowed(port: int) -> None:
    assert await NotifyPolicy().check(f"http://{OWN}:{port}/", OWN) == OWN


def test_no_port_that_a_system_gives_out_by_itself_is_refused() -> None:
    assert all(port in NotifyPorts() for port in range(32_768, 65_536))


def test_a_port_that_is_named_singly_is_allowed_whatever_else_it_is_for() -> None:
    ports = NotifyPorts.parse(["9100", "9000-9200"])
    assert 9100 in ports
    assert 9101 not in ports
    assert 9000 in ports
    assert 80 not in ports


@pytest.mark.parametrize("entry", ["", "x", "0", "65536", "-1", "1-", "5-4", "80,443", "१२", "1-2-3", "0x50"])
def test_what_is_no_port_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is no port|ends before"):
        NotifyPorts.parse([entry])


@pytest.mark.parametrize("address", ["100.100.100.200", "[fd00:ec2::254]", "240.0.0.1", "255.255.255.255"])
async def test_other_addresses_that_are_no_device_are_refused_even_when_they_are_listed(address: str) -> None:
    policy = NotifyPolicy(hosts=frozenset({address.strip("[]")}), allow_loopback=True)
    with pytest.raises(NotifyRefused):
        await policy.check(f"http://{address}/", address.strip("[]"))


async def test_what_the_server_itself_listens_at_is_no_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_policy, "_is_local", lambda address: str(address) == OWN)
    own = NotifyPolicy(own_ports=frozenset({5362}))
    with pytest.raises(NotifyRefused):
        await own.check(f"http://{OWN}:5362/", OWN)
    assert await own.check(f"http://{OWN}:5363/", OWN) == OWN
    assert await own.check("http://192.0.2.8:5362/", "192.0.2.8") == "192.0.2.8"


def test_an_address_of_this_machine_is_known_by_binding_to_it() -> None:
    assert notify_policy._is_local(ipaddress.ip_address("127.0.0.1"))
    assert not notify_policy._is_local(ipaddress.ip_address(OWN))


async def test_a_url_with_line_ends_or_blanks_is_refused() -> None:
    for url in (f"http://{OWN}/a b", f"http://{OWN}/a\r\nX: y", f"http://{OWN}/\x7f", f"http://{OWN}/é"):
        with pytest.raises(NotifyRefused):
            await NotifyPolicy().check(url, OWN)

"""The filter itself: destinations, the user's own site, odd answers, and where credentials never go."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from itertools import count
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.contracts.keywords import FilterStateReason
from postscan.contracts.spf import SharePointConfig
from postscan.core.errors import ConfigurationError
from postscan.filters.contract import (
    ConfiguredFilter,
    DeliveryError,
    DeliveryFilter,
    DeliveryOrder,
    Destination,
    InstructionsError,
    ProbedFilter,
)
from postscan.filters.sharepoint.address import LibraryAddress, Origin, parse_origin
from postscan.filters.sharepoint.connection import HttpSite
from postscan.filters.sharepoint.filter import SharePointFilter
from postscan.filters.sharepoint.http import Answer
from postscan.filters.sharepoint.library import DocumentLibrary, LibraryError, Trouble
from postscan.filters.sharepoint.names import NameRules
from postscan.filters.sharepoint.troubles import delivery_failure, status_error
from postscan.filters.sharepoint.visit import SharePointSite
from postscan.soap.xml import parse
from support.delivery import JOB, NO_INSTRUCTIONS, MemoryLedger
from support.libraries import LibrarySite
from support.scripted_site import Script, ScriptedSite, answer, properties, scripted

INVOICES = "https://sp.example.com/sites/team/Invoices"
NAME = "Invoice_2026-11-21_143005_alice_001.tif"


def never(address: LibraryAddress) -> DocumentLibrary:
    raise AssertionError(f"{address} was opened")


def a_filter(opener: Callable[[LibraryAddress], DocumentLibrary] = never) -> SharePointFilter:
    sites = {
        Origin("https", "sp.example.com", 443): SharePointSite(opener),
        Origin("https", "my.example.com", 8443): SharePointSite(opener, my_site_library="Personal Documents"),
    }
    return SharePointFilter(sites, UTC)


def instructions(*urls: str, my_site: bool = False) -> SharePointConfig:
    return SharePointConfig(save_to_my_site=my_site, urls=urls)


def keys(*urls: str, my_site: bool = False, home: str | None = None) -> list[str]:
    config = instructions(*urls, my_site=my_site).to_element()
    return [one.key for one in a_filter().destinations(config, replace(JOB, user_home_site=home))]


def test_it_is_a_delivery_filter_that_can_be_tried() -> None:
    made = a_filter()

    assert isinstance(made, DeliveryFilter)
    assert isinstance(made, ProbedFilter)
    assert isinstance(made, ConfiguredFilter)


def test_each_library_is_one_destination_once() -> None:
    assert keys(
        INVOICES,
        "https://SP.example.com:443/sites/team/Invoices/Forms/AllItems.aspx",
        " https://sp.example.com/sites/team ",
    ) == [INVOICES, "https://sp.example.com/sites/team/Shared%20Documents"]


def test_the_users_own_site_comes_last() -> None:
    assert keys(INVOICES, my_site=True, home="https://my.example.com:8443/personal/alice") == [
        INVOICES,
        "https://my.example.com:8443/personal/alice/Personal%20Documents",
    ]


def test_a_user_without_a_site_of_their_own_is_told() -> None:
    with pytest.raises(InstructionsError, match="alice has no site of their own") as refused:
        keys(my_site=True)

    assert "home_site_attribute" in refused.value.what_to_do


def test_an_own_site_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(InstructionsError, match="none of the SharePoint sites") as refused:
        keys(my_site=True, home="https://evil.example/personal/alice")

    assert refused.value.detail == "spf:SaveToMySite"


def test_instructions_without_a_library_are_refused() -> None:
    with pytest.raises(InstructionsError, match="name no library"):
        keys()


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/sites/team/Invoices",
        "https://sp.example.com.evil.example/sites/team/Invoices",
        "https://sp.example.com:8443/sites/team/Invoices",
        "http://sp.example.com/sites/team/Invoices",
        "https://sp.example.com@evil.example/Invoices",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:169.254.169.254]/latest",
        "https://localhost/sites/team/Invoices",
        "//evil.example/sites/team/Invoices",
        "file:///etc/passwd",
    ],
)
def test_case_37_an_address_on_another_site_makes_no_destination(url: str) -> None:
    with pytest.raises(InstructionsError) as refused:
        keys(url)

    assert refused.value.detail == "spf:SaveToSharePointSiteURL"
    assert refused.value.what_to_do


@given(st.text(max_size=80))
def test_no_address_leads_anywhere_but_to_the_sites_of_the_settings(text: str) -> None:
    try:
        [found] = keys("https://sp.example.com" + text)
    except InstructionsError:
        return
    assert found.startswith("https://sp.example.com/")


def test_what_is_configured_are_the_sites() -> None:
    told = a_filter().configuration()

    assert told is not None
    assert SharePointConfig.from_element(told).urls == (
        "https://sp.example.com",
        "https://my.example.com:8443",
    )


async def test_a_site_that_is_not_allowed_any_more_is_not_called(tmp_path: Path) -> None:
    site = LibrarySite("https://gone.example.com", tmp_path, tmp_path)
    order = DeliveryOrder(
        Destination("https://gone.example.com/sites/a/Docs", "the library"),
        JOB,
        NO_INSTRUCTIONS,
        [site.document()],
    )

    with pytest.raises(DeliveryError, match="may no longer be delivered to") as refused:
        await a_filter().deliver(order, MemoryLedger())

    assert refused.value.reason is FilterStateReason.SHAREPOINT_ACCESS_DENIED


async def test_a_missing_secret_is_waited_for(tmp_path: Path) -> None:
    def without_secret(address: LibraryAddress) -> DocumentLibrary:
        raise ConfigurationError("the secret is missing", advice="Enter it.")

    document = LibrarySite("https://sp.example.com", tmp_path, tmp_path).document()
    order = DeliveryOrder(Destination(INVOICES, "the library"), JOB, NO_INSTRUCTIONS, [document])

    with pytest.raises(DeliveryError, match="the secret is missing") as refused:
        await a_filter(without_secret).deliver(order, MemoryLedger())

    assert refused.value.transient
    assert refused.value.what_to_do == "Enter it."


async def test_a_path_without_room_for_a_name_is_told(tmp_path: Path) -> None:
    document = LibrarySite("https://sp.example.com", tmp_path, tmp_path).document()
    key = "https://sp.example.com/sites/team/" + "a" * 200
    order = DeliveryOrder(Destination(key, "the library"), JOB, NO_INSTRUCTIONS, [document])

    class Closing:
        async def close(self) -> None:
            """Nothing is open."""

    with pytest.raises(DeliveryError, match="too long for a file"):
        await a_filter(lambda _: cast(DocumentLibrary, Closing())).deliver(order, MemoryLedger())


async def test_an_address_that_grows_by_encoding_is_found_again(tmp_path: Path) -> None:
    opened: list[LibraryAddress] = []

    def refusing(address: LibraryAddress) -> DocumentLibrary:
        opened.append(address)
        raise ConfigurationError("as far as that")

    url = "https://sp.example.com/sites/team/" + "字" * 200 + "/a.aspx/Forms/x.aspx"
    [destination] = a_filter().destinations(instructions(url).to_element(), JOB)
    document = LibrarySite("https://sp.example.com", tmp_path, tmp_path).document()

    with pytest.raises(DeliveryError, match="as far as that"):
        await a_filter(refusing).deliver(
            DeliveryOrder(destination, JOB, NO_INSTRUCTIONS, [document]), MemoryLedger()
        )

    assert [address.library_path for address in opened] == [("字" * 200, "a.aspx")]


async def test_nothing_is_opened_for_what_was_delivered_already(library: LibrarySite) -> None:
    document = library.document()
    await library.deliver(document)
    order = DeliveryOrder(library.destination(), JOB, NO_INSTRUCTIONS, [document])
    opened = SharePointFilter({Origin("https", "localhost", 1): SharePointSite(never)}, UTC)

    await opened.deliver(order, library.ledger)


def was_put(site: ScriptedSite) -> bool:
    return any(head.startswith("PUT") for head in site.heads)


def new_library(**paths: bytes | None) -> Script:
    """Return a script of a library that takes everything; ``PUT=...`` and so on differ."""
    stored: list[str] = []

    def script(method: str, path: str) -> bytes | None:
        if method in paths:
            stored.append(path)
            return paths[method]
        if method == "PROPFIND":
            return properties(length=7000) if path in stored else answer(404)
        if method == "PUT":
            stored.append(path)
        return answer(201)

    return script


def scripted_site(site: ScriptedSite, pki: Path, spool: Path) -> LibrarySite:
    return LibrarySite(site.origin, pki / "ca.pem", spool)


async def test_an_answer_that_was_lost_makes_no_second_file(web_pki: Path, spool: Path) -> None:
    calls = count()
    content = b"page 1 " * 1000

    def script(method: str, path: str) -> bytes | None:
        if method == "PUT":
            return None if next(calls) == 0 else answer(412)
        if method == "GET":
            return answer(200, content)
        if method == "PROPFIND" and path.endswith(NAME) and was_put(site):
            return properties(length=len(content))
        return answer(404) if method == "PROPFIND" else answer(201)

    async with scripted(web_pki, script) as site:
        library = scripted_site(site, web_pki, spool)
        document = library.document(1, content)
        try:
            await library.deliver(document)
        except DeliveryError as error:
            assert error.transient  # noqa: PT017 - the client may have tried again by itself
            await library.deliver(document)

    assert library.ledger.done[1].name == NAME


@pytest.mark.parametrize(
    ("said", "words", "transient"),
    [
        (answer(302, Location="https://a.example/login?t=geheim"), "https://a.example/login", False),
        (answer(301, Location="//elsewhere.example/"), "leads elsewhere", False),
        (answer(303), "to nowhere", False),
        (answer(403), "the account may not do this", False),
        (answer(500), "error of its own", True),
        (answer(502), "behind the proxy", True),
        (answer(418), "it was refused", False),
        (answer(200, b"<html>Log on</html>"), "not one to what was asked", True),
        (answer(207, b"<html>Log on</html>"), "nothing that is asked for", True),
        (answer(207, b"not xml"), "something else", True),
        (answer(207, b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'), "something else", True),
        (answer(207, b"x" * 2_000_000), "more than", True),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP", True),
        (None, "broke off", True),
    ],
    ids=[
        "redirect", "redirect without scheme", "redirect to nowhere", "forbidden", "internal error",
        "bad gateway", "teapot", "a page", "a page as multistatus", "no XML", "entities", "endless",
        "ssh", "nothing",
    ],
)  # fmt: skip
async def test_every_answer_becomes_words(
    web_pki: Path, spool: Path, said: bytes | None, words: str, transient: bool
) -> None:
    async with scripted(web_pki, lambda _method, _path: said) as site:
        library = scripted_site(site, web_pki, spool)
        library.auth = lambda _origin: None
        with pytest.raises(DeliveryError) as failed:
            await library.deliver(library.document())

    assert words in str(failed.value)
    assert failed.value.transient is transient
    assert failed.value.what_to_do
    assert "geheim" not in str(failed.value)


async def test_case_37_no_redirect_takes_a_password_or_a_document_elsewhere(
    web_pki: Path, spool: Path
) -> None:
    async with scripted(web_pki, lambda _method, _path: answer(200)) as canary:

        def script(method: str, path: str) -> bytes | None:
            return answer(307, Location=f"{canary.origin}{path}")

        async with scripted(web_pki, script) as site:
            library = scripted_site(site, web_pki, spool)
            with pytest.raises(DeliveryError, match="is not followed") as refused:
                await library.deliver(library.document())

    assert not refused.value.transient
    assert site.heads
    assert canary.connections == 0


async def test_case_37_a_redirected_upload_is_not_followed_either(web_pki: Path, spool: Path) -> None:
    async with scripted(web_pki, lambda _method, _path: answer(201)) as canary:
        moved = answer(308, Location=f"{canary.origin}/take-it")
        async with scripted(web_pki, new_library(PUT=moved)) as site:
            library = scripted_site(site, web_pki, spool)
            with pytest.raises(DeliveryError, match="is not followed"):
                await library.deliver(library.document())

    assert canary.connections == 0


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0"])
async def test_case_37_a_name_that_comes_to_mean_a_metadata_service_is_not_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = (family, socket.SOCK_STREAM, 6, "", (address, 443, 0, 0)[: 4 if ":" in address else 2])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [found])
    library = LibrarySite("https://sp.example.com", tmp_path, tmp_path)
    here = HttpSite(parse_origin(library.origin), None)
    try:
        with pytest.raises(LibraryError, match=f"means {address}, which is never called") as refused:
            await here.request("GET", "/")
    finally:
        await here.close()

    assert refused.value.trouble is Trouble.AWAY


async def test_case_37_cookies_and_proxies_are_left_alone(
    web_pki: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted(web_pki, lambda _method, _path: answer(200)) as canary:
        monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{canary.port}")
        made = answer(201, Set_Cookie="FedAuth=1")
        async with scripted(web_pki, new_library(MKCOL=made)) as site:
            library = scripted_site(site, web_pki, spool)
            await library.deliver(library.document())

    assert canary.connections == 0
    assert not any("cookie" in head.lower() for head in site.heads)


async def test_a_file_that_did_not_arrive_whole_is_not_called_delivered(web_pki: Path, spool: Path) -> None:
    def script(method: str, path: str) -> bytes | None:
        if method == "PROPFIND" and path.endswith(NAME):
            return properties(length=3) if was_put(site) else answer(404)
        return answer(404) if method == "PROPFIND" else answer(201)

    async with scripted(web_pki, script) as site:
        library = scripted_site(site, web_pki, spool)
        with pytest.raises(DeliveryError, match="3 of 7000 octets") as failed:
            await library.deliver(library.document())

    assert failed.value.transient
    assert library.ledger.done == {}


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_columns_that_cannot_be_filled_are_a_warning(web_pki: Path, spool: Path, status: int) -> None:
    def script(method: str, path: str) -> bytes | None:
        return answer(status) if method == "PROPPATCH" else stored(method, path)

    stored = new_library()
    async with scripted(web_pki, script) as site:
        library = scripted_site(site, web_pki, spool)
        library.columns = {"Title": "{document}"}
        await library.deliver(library.document())

    assert [text.rpartition(": ")[2] for text in library.ledger.warnings] == ["Title"]
    assert 1 in library.ledger.done


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry-after": "120"}, timedelta(seconds=120)),
        ({"retry-after": "99999999999999999999"}, timedelta(days=1)),
        (
            {"retry-after": "Sat, 21 Nov 2026 14:31:05 GMT", "date": "Sat, 21 Nov 2026 14:30:05 GMT"},
            timedelta(seconds=60),
        ),
        (
            {"retry-after": "Sat, 21 Nov 2026 14:30:05 GMT", "date": "Sat, 21 Nov 2026 14:31:05 GMT"},
            timedelta(),
        ),
        ({"retry-after": "Sat, 21 Nov 2026 14:30:05 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "²"}, None),
        ({}, None),
    ],
)
def test_a_pause_is_read_as_seconds_or_as_a_date(headers: dict[str, str], pause: timedelta | None) -> None:
    assert Answer(503, headers, b"").retry_after == pause


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_pause_is_longer_than_a_day(text: str, date: str) -> None:
    pause = Answer(503, {"retry-after": text, "date": date}, b"").retry_after

    assert pause is None or timedelta() <= pause <= timedelta(days=1)


async def test_a_site_that_wants_a_form_filled_in_is_told(web_pki: Path, spool: Path) -> None:
    form = answer(403, X_FORMS_BASED_AUTH_REQUIRED="https://sp.example.com/_login/default.aspx")
    form = form.replace(b"X-FORMS-BASED-AUTH-REQUIRED", b"X-FORMS_BASED_AUTH_REQUIRED")
    async with scripted(web_pki, lambda _method, _path: form) as site:
        library = scripted_site(site, web_pki, spool)
        with pytest.raises(DeliveryError, match="log on at a web page") as refused:
            await library.deliver(library.document())

    assert refused.value.reason is FilterStateReason.SHAREPOINT_ACCESS_DENIED
    assert all("X-FORMS_BASED_AUTH_ACCEPTED: f" in head for head in site.heads)


def test_the_servers_own_words_and_the_mark_in_its_log_are_shown() -> None:
    headers = {
        "x-msdavext_error": "589838; The%20file%20is%20checked%20out%0d%0a%e2%80%ae%20by%20Bob",
        "sprequestguid": "0A8DC46D-3E2B-4B5D-A0F4-6E5B1F0C9D21",
    }

    error = status_error(Answer(423, headers, b""), "storing a.pdf")

    assert str(error) == (
        "storing a.pdf: somebody has locked it or checked it out (HTTP 423, The file is checked out ? by Bob,"
        " in its log as 0a8dc46d-3e2b-4b5d-a0f4-6e5b1f0c9d21)"
    )


@given(st.text(max_size=300), st.text(max_size=60))
def test_a_servers_words_are_shown_harmless_and_short(text: str, guid: str) -> None:
    headers = {"x-msdavext_error": text, "sprequestguid": guid}

    shown = str(status_error(Answer(403, headers, b""), "storing"))

    assert shown.isprintable()
    assert len(shown) < 330


@pytest.mark.parametrize("trouble", Trouble)
def test_every_trouble_has_words_and_advice(trouble: Trouble) -> None:
    error = status_error(Answer(404, {}, b""), "looking")
    error.trouble = trouble

    failure = delivery_failure(error, "the library")

    assert failure.what_to_do.endswith(".")
    assert failure.transient == ("is tried again" in failure.what_to_do)


def test_a_reason_names_what_happened() -> None:
    reasons = {
        status: delivery_failure(status_error(Answer(status, {}, b""), "storing"), "x").reason
        for status in (403, 404, 413, 507)
    }

    assert reasons == {
        403: FilterStateReason.SHAREPOINT_ACCESS_DENIED,
        404: FilterStateReason.INVALID_ARGS,
        413: FilterStateReason.UNKNOWN_ERROR,
        507: FilterStateReason.SHAREPOINT_OUT_OF_DISK_SPACE,
    }


def test_instructions_that_are_none_are_told() -> None:
    broken = parse(b'<x xmlns="urn:x"/>')

    with pytest.raises(InstructionsError):
        a_filter().destinations(broken, JOB)


def test_rules_of_names_can_be_chosen() -> None:
    assert SharePointSite(never).rules is NameRules.STRICT

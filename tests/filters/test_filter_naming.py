"""Names are safe on every target, whatever they are made of (abuse case 28)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.filters.contract import JobFacts, SpooledDocument
from postscan.filters.naming import OutsideRoot, contained, document_name, safe_component, user_folder
from support.delivery import JOB
from support.names import NASTY, assert_safe_everywhere


@given(NASTY, NASTY)
@example("CON" + " " * 300 + "x", "x")
@example("con" + "." * 3 + "tar", "x")
@example("a" * 251 + "é" * 5, "x")
@example("", "")
@example("\u202e", "..")
@example("e\u200b\u0301", "x")
def test_a_component_is_safe_on_every_target(text: str, fallback: str) -> None:
    assert_safe_everywhere(safe_component(text, fallback))


@given(NASTY)
def test_making_a_safe_component_safe_changes_nothing(text: str) -> None:
    once = safe_component(text, "fallback")
    assert safe_component(once, "fallback") == once


@given(NASTY, st.integers(8, 255))
def test_a_component_keeps_to_the_length_it_is_given(text: str, most: int) -> None:
    assert len(safe_component(text, "fallback", max_bytes=most).encode()) <= most


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Invoice", "Invoice"),
        ("Rechnung für Müller & Söhne", "Rechnung für Müller & Söhne"),
        ("../../etc/passwd", "etcpasswd"),
        ('a/b\\c:d*e?f"g<h>i|j', "abcdefghij"),
        ("  .hidden. ", "hidden"),
        ("..", "fallback"),
        ("\u202egnp.exe", "gnp.exe"),
        ("cafe\u0301", "café"),
        ("con", "_con"),
        ("Nul.tar.gz", "_Nul.tar.gz"),
        ("COM¹.txt", "_COM¹.txt"),
        ("CONSOLE", "CONSOLE"),
        ("契約\u3000書", "契約 書"),
    ],
)
def test_a_component_keeps_what_is_harmless(text: str, name: str) -> None:
    assert safe_component(text, "fallback") == name


def test_a_long_name_is_cut_between_characters() -> None:
    assert safe_component("ä" * 200, "x") == "ä" * 127


def test_a_document_is_named_by_root_date_time_user_and_number() -> None:
    assert document_name(*sample(), zone=UTC) == "Invoice_2026-11-21_143005_alice_001.tif"


def test_a_clash_adds_a_counter_before_the_extension() -> None:
    assert document_name(*sample(number=12), attempt=1, zone=UTC) == (
        "Invoice_2026-11-21_143005_alice_012 (2).tif"
    )


def test_a_document_is_named_in_the_time_zone_that_is_set() -> None:
    name = document_name(*sample(), zone=ZoneInfo("Asia/Tokyo"))
    assert name == "Invoice_2026-11-21_233005_alice_001.tif"


def test_without_a_zone_a_document_is_named_in_the_servers_own() -> None:
    job, document = sample()
    local = job.created.astimezone()
    assert f"_{local:%Y-%m-%d_%H%M%S}_" in document_name(job, document)


@given(root=NASTY, user=NASTY, attempt=st.integers(0, 9999), number=st.integers(1, 99999))
def test_a_document_name_is_safe_whatever_the_job_says(
    root: str, user: str, attempt: int, number: int
) -> None:
    job, document = sample(root, user, number)
    name = document_name(job, document, attempt=attempt, zone=UTC)
    assert_safe_everywhere(name)
    assert name.endswith(".tif")
    assert f"{number:03d}" in name


@given(root=NASTY, user=NASTY)
def test_attempts_give_different_names(root: str, user: str) -> None:
    job, document = sample(root, user, 1)
    names = {document_name(job, document, attempt=n, zone=UTC) for n in range(12)}
    assert len({name.casefold() for name in names}) == 12


def test_the_folder_of_a_user_is_user_at_domain() -> None:
    assert user_folder("alice", "example.com") == "alice@example.com"


@given(NASTY, NASTY)
def test_the_folder_of_a_user_is_safe(user: str, domain: str) -> None:
    assert_safe_everywhere(user_folder(user, domain))


@pytest.mark.parametrize(
    ("user", "domain"),
    [("bo/b", "example.com"), ("bob@example.com", ""), (".bob", "example.com"), ("bob\u200b", "example.com")],
)
def test_an_odd_user_name_does_not_lead_into_the_folder_of_another(user: str, domain: str) -> None:
    assert user_folder(user, domain) != user_folder("bob", "example.com")


@given(NASTY, NASTY)
def test_a_path_of_safe_names_stays_inside(first: str, second: str) -> None:
    root = Path("/nowhere/at/all")
    path = contained(root, safe_component(first, "x"), safe_component(second, "x"))
    assert path.parent.parent == root


@pytest.mark.parametrize("parts", [("..",), ("a", "..", "..", "b"), ("/etc",), ("a\0b",)])
def test_a_path_that_leaves_its_root_is_refused(tmp_path: Path, parts: tuple[str, ...]) -> None:
    with pytest.raises(OutsideRoot):
        contained(tmp_path, *parts)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    with pytest.raises(OutsideRoot):
        contained(root, "out", "file")


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutsideRoot):
        contained(tmp_path, "loop")


def sample(root: str = "Invoice", user: str = "alice", number: int = 1) -> tuple[JobFacts, SpooledDocument]:
    job = JobFacts(
        "t", "p", user, "example.com", "", None, root, datetime(2026, 11, 21, 14, 30, 5, tzinfo=UTC)
    )
    return job, SpooledDocument(number, number, DocumentFormat.TIFF_MULTI_G4, Path("/x"), 1, "")


@given(NASTY, st.integers(0, 9_999))
@example("CON", 0)
@example("COM", 1)
@example("x.", 0)
@example("字" * 300, 9_999)
def test_a_name_that_a_processing_filter_gave_is_safe_too(name: str, attempt: int) -> None:
    spooled = SpooledDocument(1, 1, DerivedFormat.PDF, Path(), 0, "", name=name)
    final = document_name(JOB, spooled, attempt=attempt)
    assert_safe_everywhere(final)
    assert final.endswith(f" ({attempt + 1}).pdf" if attempt else ".pdf")


@pytest.mark.parametrize(
    ("name", "final"),
    [
        ("Contract 7", "Contract 7.pdf"),
        ("../a.b", "a.b.pdf"),
        ("nul", "_nul.pdf"),
        ("/", "Invoice_2026-11-21_143005_alice_001.pdf"),
        ("", "Invoice_2026-11-21_143005_alice_001.pdf"),
    ],
)
def test_a_name_that_was_given_is_kept_where_something_of_it_can_stand(name: str, final: str) -> None:
    spooled = SpooledDocument(1, 1, DerivedFormat.PDF, Path(), 0, "", name=name)
    assert document_name(JOB, spooled, zone=UTC) == final

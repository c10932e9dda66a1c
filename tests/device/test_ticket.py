"""What holds for the pages: the ticket of the scan process against the wishes of the user."""

from __future__ import annotations

import pytest

from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.wscn import (
    DocumentParameters,
    Keyword,
    MediaSide,
    MediaSides,
    Number,
    Resolution,
    ScanTicket,
    TicketJob,
)
from postscan.device.ticket import PageWishes, TicketRefused, settle


def ticket(**parameters: object) -> ScanTicket:
    found = DocumentParameters(**parameters)  # type: ignore[arg-type]  # fields by name
    return ScanTicket(job=TicketJob(name="job", user_name=""), parameters=found)


def full(*, mark: bool, all_sides: bool = False) -> ScanTicket:
    return ticket(
        format=Keyword(value="pdf-a", must_honor=mark),
        quality=Number(value=40, must_honor=mark),
        media_sides=MediaSides(
            front=MediaSide(
                color=Keyword(value="Grayscale8", must_honor=mark),
                resolution=Resolution(width=200, must_honor=mark),
            ),
            must_honor=all_sides,
        ),
    )


ALL = PageWishes(DocumentFormat.PDF_A, 40, 200, "Grayscale8")


def test_without_marks_files_are_sent_as_they_are() -> None:
    assert settle(full(mark=False), PageWishes()) == PageWishes()


def test_without_marks_the_user_decides() -> None:
    wishes = PageWishes(DocumentFormat.PNG, None, 300, None)
    assert settle(full(mark=False), wishes) == wishes


def test_the_ticket_fills_in_what_the_user_leaves_open_when_asked_to() -> None:
    assert settle(full(mark=False), PageWishes(), take_defaults=True) == ALL
    mixed = settle(full(mark=False), PageWishes(resolution=300), take_defaults=True)
    assert mixed == PageWishes(DocumentFormat.PDF_A, 40, 300, "Grayscale8")


def test_marked_settings_hold() -> None:
    assert settle(full(mark=True), PageWishes()) == ALL
    assert settle(full(mark=True), ALL) == ALL


@pytest.mark.parametrize(
    ("wishes", "option"),
    [
        (PageWishes(format=DocumentFormat.PNG), "--format"),
        (PageWishes(quality=90), "--quality"),
        (PageWishes(resolution=300), "--resolution"),
        (PageWishes(color="RGB24"), "--color"),
    ],
)
def test_a_marked_setting_is_not_open_to_the_user(wishes: PageWishes, option: str) -> None:
    with pytest.raises(TicketRefused, match="MustHonor") as refused:
        settle(full(mark=True), wishes)
    assert option in refused.value.what_to_do


def test_a_mark_on_all_sides_holds_for_what_they_contain() -> None:
    assert settle(full(mark=False, all_sides=True), PageWishes()) == PageWishes(None, None, 200, "Grayscale8")


@pytest.mark.parametrize(
    "asked",
    [
        ticket(format=Keyword(value="xps", must_honor=True)),
        ticket(format=Keyword(value="acme:odd", must_honor=True)),
        ticket(rotation=Keyword(value="90", must_honor=True)),
        ticket(
            media_sides=MediaSides(
                front=MediaSide(resolution=Resolution(width=300, height=600, must_honor=True))
            )
        ),
        ticket(media_sides=MediaSides(front=MediaSide(color=Keyword(value="RGB48", must_honor=True)))),
        ticket(
            media_sides=MediaSides(
                front=MediaSide(color=Keyword(value="RGB24")),
                back=MediaSide(color=Keyword(value="Grayscale8", must_honor=True)),
            )
        ),
    ],
)
def test_what_cannot_be_done_exactly_is_refused(asked: ScanTicket) -> None:
    with pytest.raises(TicketRefused, match="MustHonor"):
        settle(asked, PageWishes())


def test_what_cannot_be_done_is_passed_over_without_a_mark() -> None:
    asked = ticket(format=Keyword(value="acme:odd"), rotation=Keyword(value="90"))
    assert settle(asked, PageWishes(), take_defaults=True) == PageWishes()


def test_backs_as_the_fronts_are_no_obstacle() -> None:
    color = Keyword(value="Grayscale8")
    sides = MediaSides(
        front=MediaSide(color=color),
        back=MediaSide(color=Keyword(value="Grayscale8", must_honor=True)),
        must_honor=True,
    )
    assert settle(ticket(media_sides=sides), PageWishes()).color == "Grayscale8"


def test_where_the_page_comes_from_is_no_matter_to_a_file() -> None:
    asked = ticket(input_source=Keyword(value="ADF", must_honor=True))
    assert settle(asked, PageWishes()) == PageWishes()


def test_a_ticket_without_settings_asks_nothing() -> None:
    bare = ScanTicket(job=TicketJob(name="job", user_name=""), parameters=None)
    assert settle(bare, PageWishes(resolution=150), take_defaults=True) == PageWishes(resolution=150)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.contracts.keywords import END_STATES, FilterState, JobState, JobStateReason
from postscan.jobs.states import (
    FILTER_ARROWS,
    JOB_ARROWS,
    FilterEvent,
    IllegalTransition,
    JobEvent,
    filter_arrow,
    job_arrow,
)


@given(st.lists(st.sampled_from(JobEvent), max_size=30))
def test_a_job_moves_along_arrows_of_the_table_and_no_others(events: list[JobEvent]) -> None:
    allowed = {(a.source, a.target) for a in JOB_ARROWS}
    state: JobState | None = None
    for event in events:
        listed = [a for a in JOB_ARROWS if a.source is state and a.event is event]
        try:
            arrow = job_arrow(state, event)
        except IllegalTransition:
            assert not listed
            continue
        assert listed == [arrow]
        assert (state, arrow.target) in allowed
        state = arrow.target


@given(st.sampled_from(FilterState), st.sampled_from(FilterEvent))
def test_a_filter_moves_along_arrows_of_the_table_and_no_others(
    state: FilterState, event: FilterEvent
) -> None:
    listed = [a for a in FILTER_ARROWS if a.source is state and a.event is event]
    if listed:
        assert filter_arrow(state, event) == listed[0]
    else:
        with pytest.raises(IllegalTransition):
            filter_arrow(state, event)


def test_no_two_arrows_leave_a_state_on_the_same_event() -> None:
    assert len({(a.source, a.event) for a in JOB_ARROWS}) == len(JOB_ARROWS)
    assert len({(a.source, a.event) for a in FILTER_ARROWS}) == len(FILTER_ARROWS)


def test_an_end_state_is_left_only_by_a_retry_and_canceled_never() -> None:
    leaving = {(a.source, a.event) for a in JOB_ARROWS if a.source in END_STATES}
    assert leaving == {(JobState.ABORTED, JobEvent.RETRY), (JobState.COMPLETED, JobEvent.RETRY)}


def test_every_state_can_be_reached_and_every_end_state_carries_a_reason() -> None:
    assert {a.target for a in JOB_ARROWS} == set(JobState)
    assert all(a.reason is not JobStateReason.NONE for a in JOB_ARROWS if a.target in END_STATES)


def test_canceling_always_goes_through_terminating() -> None:
    into = [a for a in JOB_ARROWS if a.target is JobState.CANCELED]
    assert [a.source for a in into] == [JobState.TERMINATING]

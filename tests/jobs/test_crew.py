from __future__ import annotations

import threading

import pytest

from postscan.jobs.crew import Crew


@pytest.fixture
def crew():
    helpers = Crew(2, "test-crew")
    helpers.start()
    yield helpers
    helpers.close()


def refuse():
    raise OSError("refused")


def test_each_call_runs_once_and_what_it_raised_comes_back_in_its_place(crew):
    made: list[int] = []
    calls = [lambda number=number: made.append(number) for number in range(20)]
    calls[7] = refuse
    errors = crew.run_all(calls)
    assert sorted(made) == [number for number in range(20) if number != 7]
    assert [str(error) for error in errors if error is not None] == ["refused"]
    assert isinstance(errors[7], OSError)


def test_calls_run_side_by_side(crew):
    # Each waits for the two others, so one after the other they would never end.
    together = threading.Barrier(3, timeout=10)
    assert crew.run_all([together.wait] * 3) == [None] * 3


def test_the_first_call_runs_in_the_calling_thread(crew):
    seen: list[threading.Thread] = []
    crew.run_all([lambda: seen.append(threading.current_thread())])
    assert seen == [threading.current_thread()]


def test_nothing_to_run_is_done_at_once(crew):
    assert crew.run_all([]) == []
    assert crew.run_all([refuse])[0] is not None
    assert crew.run_all([lambda: None]) == [None]

"""A flood of the same does not become a flood in the log."""

from structlog.testing import capture_logs

from postscan.core.log import get_logger
from postscan.core.rates import BoundedLog, LineBudget
from support.clock import FakeClock


def test_so_many_lines_pass_at_once_and_then_one_at_a_time() -> None:
    clock = FakeClock()
    budget = LineBudget(clock, burst=3, seconds=6.0)
    assert [budget.take("a") for _ in range(5)] == [0, 0, 0, None, None]
    clock.advance(6)
    # What was held back is told with the next line.
    assert [budget.take("a") for _ in range(2)] == [2, None]


def test_who_floods_leaves_others_their_lines() -> None:
    budget = LineBudget(FakeClock(), burst=3, seconds=6.0)
    for _ in range(1_000):
        budget.take("loud")
    assert budget.take("quiet") is not None


def test_many_keys_together_have_a_limit_too() -> None:
    clock = FakeClock()
    budget = LineBudget(clock, burst=3, seconds=6.0, all_together=10)
    passed = [budget.take(number) for number in range(10_000)]
    assert sum(one is not None for one in passed) == 30
    assert len(budget._of_key) <= 1_024
    clock.advance(6)
    assert sum(budget.take(number) is not None for number in range(1_000)) == 10


def test_the_log_tells_what_it_left_out() -> None:
    clock = FakeClock()
    log = BoundedLog(get_logger("test"), clock, burst=1)
    with capture_logs() as lines:
        for _ in range(4):
            log.info("key", "refused", why="x")
        clock.advance(60)
        log.warning("key", "refused", why="y")
    assert [(line["log_level"], line.get("suppressed")) for line in lines] == [("info", None), ("warning", 3)]

"""The window counts what came lately, in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from tiebreak.infrastructure.resilience.window import OutcomeWindow


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=80))
def test_counts_lie_between_those_of_the_full_buckets_and_of_the_whole_window(steps):
    window = OutcomeWindow(30.0, 10, 0.0)
    now = 0.0
    seen: list[tuple[float, bool]] = []
    for wait, failed in steps:
        now += wait
        window.add(failed, now)
        seen.append((now, failed))
        surely = [bad for at, bad in seen if at > now - 27.0]
        perhaps = [bad for at, bad in seen if at > now - 30.0]
        assert len(surely) <= window.calls <= len(perhaps)
        assert sum(surely) <= window.failures <= sum(perhaps)
        assert len(window._buckets) <= 10
    window.slide(now + 30.0)
    assert (window.calls, window.failures) == (0, 0)


def test_the_rate_is_over_the_time_that_is_covered():
    window = OutcomeWindow(30.0, 10, 100.0)
    for tick in range(600):
        window.add(tick % 2 == 0, 100.0 + tick / 100)
    assert window.successes_per_second(106.0) == 50.0
    assert window.successes_per_second(129.0) == 300 / 29.0
    assert window.successes_per_second(200.0) == 10.0
    window.clear(200.0)
    window.add(False, 200.0)
    assert window.successes_per_second(200.1) == 1.0

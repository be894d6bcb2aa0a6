"""One part per key, and never more than agreed."""

from hypothesis import given
from hypothesis import strategies as st

from tiebreak.infrastructure.resilience.keyed import Keyed


def test_the_same_key_gives_the_same_part_and_the_longest_unused_makes_room():
    kept: Keyed[str, object] = Keyed(object, most=2)
    a, b = kept.of("a"), kept.of("b")
    assert kept.of("a") is a
    kept.of("c")
    assert kept.of("a") is a
    assert kept.of("b") is not b


def test_a_part_in_use_stays_while_a_spare_one_is_there():
    kept: Keyed[str, list[int]] = Keyed(list, most=2, spare=lambda part: not part)
    kept.of("used").append(1)
    kept.of("spare")
    kept.of("new")
    assert [key for key, _ in kept.items()] == ["used", "new"]


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 5))
def test_it_never_holds_more_than_agreed(keys, most):
    kept: Keyed[int, object] = Keyed(object, most=most)
    for key in keys:
        part = kept.of(key)
        assert kept.of(key) is part
        assert len(kept) <= most

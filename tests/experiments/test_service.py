"""Slugs that are free."""

from hypothesis import given
from hypothesis import strategies as st

from tiebreak.experiments.service import free_slug


def test_a_name_that_is_free_is_taken_as_it_is():
    assert free_slug("checkout", {"checkout-2", "checkout-out"}) == "checkout"


def test_a_taken_name_gets_the_smallest_free_number_from_two():
    assert free_slug("a", {"a"}) == "a-2"
    assert free_slug("a", {"a", "a-2", "a-4"}) == "a-3"


@given(st.sets(st.integers(2, 30)))
def test_a_slug_is_never_one_that_is_taken(numbers):
    taken = {"a", *(f"a-{number}" for number in numbers)}
    assert free_slug("a", taken) not in taken

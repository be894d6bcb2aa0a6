"""The pass over a file before it is stored."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.datasets.model import Item
from tiebreak.datasets.survey import Survey, survey
from tiebreak.errors import Fault, InvalidInput, PayloadTooLarge


def item(line, item_id=None, question="?", expected=None):
    return Item(line, item_id or f"q{line}", {"question": question}, expected, None, None)


def surveyed(records, unit="line"):
    return survey(lambda: iter(records), unit)


def test_a_sound_file_is_counted_and_hashed():
    found = surveyed([item(1), item(2)])
    assert found == Survey(2, ("question",), found.content_hash)
    assert len(found.content_hash) == 64


def test_the_hash_tells_items_and_their_order_apart_but_not_where_they_stood():
    first = surveyed([item(1), item(2)])
    assert surveyed([item(1), item(7, "q2")]) == first
    for others in (
        [item(2), item(1)],
        [item(1), item(2, expected="x")],
        [item(1), item(2, question="!")],
        [item(1)],
    ):
        assert surveyed(others).content_hash != first.content_hash


@given(
    st.lists(
        st.dictionaries(st.sampled_from("ab"), st.text(max_size=3)),
        min_size=2,
        max_size=2,
        unique_by=json.dumps,
    )
)
def test_other_inputs_are_another_hash(inputs):
    one, two = (surveyed([Item(1, "i", values, None, None, None)]).content_hash for values in inputs)
    assert (one == two) == (inputs[0] == inputs[1])


def test_a_file_without_items_is_refused():
    with pytest.raises(InvalidInput, match="the file holds no items"):
        surveyed([])


def test_duplicate_ids_name_both_lines():
    records = [
        item(2, "a"),
        item(3, "b"),
        item(5, "a"),
        Fault("", "never", line=6),
        item(7, "b"),
        item(9, "a"),
    ]
    with pytest.raises(InvalidInput) as caught:
        surveyed([record for record in records if isinstance(record, Item)], "row")
    assert caught.value.detail == (
        "row 5: the id 'a' is there twice: row 2 has it too; "
        "row 7: the id 'b' is there twice: row 3 has it too; "
        "row 9: the id 'a' is there twice: row 2 has it too"
    )


def test_duplicates_are_named_up_to_twenty():
    with pytest.raises(InvalidInput) as caught:
        surveyed([item(line, "same") for line in range(1, 100)])
    assert len(caught.value.faults) == 20
    assert caught.value.detail.endswith("; and 15 more")


class SameHash(str):
    """Two ids whose hashes meet, as those of any two texts may."""

    __slots__ = ()

    def __hash__(self):
        return 7


def test_ids_that_share_a_hash_by_chance_are_no_duplicates():
    assert surveyed([item(1, SameHash("a")), item(2, SameHash("b"))]).item_count == 2


def test_twenty_faults_are_collected_before_the_reader_stops():
    read = []

    def records():
        yield item(1)
        for line in range(2, 100):
            read.append(line)
            yield Fault("/q", "missing", line=line)

    with pytest.raises(InvalidInput) as caught:
        survey(records)
    assert len(caught.value.faults) == len(read) == 20
    assert caught.value.detail == (
        "; ".join(f"line {line}, column 'q': missing" for line in range(2, 7)) + "; and 15 more"
    )


def test_what_ends_the_file_early_is_told_after_the_faults_before_it():
    def records():
        yield Fault("/q", "missing", line=2)
        raise InvalidInput("line 3: not CSV", faults=[Fault("", "not CSV", line=3)])

    with pytest.raises(InvalidInput) as caught:
        survey(records)
    assert caught.value.detail == "line 2, column 'q': missing; line 3: not CSV"


def test_what_ends_the_file_early_is_told_alone_where_nothing_was_wrong_before():
    def records():
        yield item(1)
        raise InvalidInput("line 3: not CSV")

    with pytest.raises(InvalidInput, match="line 3: not CSV"):
        survey(records)


def test_over_the_limit_of_items_is_refused():
    with pytest.raises(PayloadTooLarge, match="over 1000 items, which is the limit; split the file"):
        survey(lambda: (item(n + 1) for n in range(1_001)), limit=1000)
    assert survey(lambda: (item(n + 1) for n in range(1_000)), limit=1000).item_count == 1000

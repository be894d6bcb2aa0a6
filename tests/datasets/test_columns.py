"""Roles of columns."""

import pytest

from tiebreak.datasets.columns import ColumnMapping, Roles, roles
from tiebreak.errors import InvalidInput


def test_columns_have_the_roles_of_their_names_and_the_others_are_inputs_in_order():
    assert roles(ColumnMapping(), ["b", "id", "a", "category", "difficulty", "expected"]) == Roles(
        "id", "expected", "category", "difficulty", ("b", "a")
    )


def test_a_column_that_is_mapped_has_only_that_role():
    mapped = roles(ColumnMapping(category="expected"), ["q", "expected", "answer"])
    assert mapped == Roles(None, "answer", "expected", None, ("q",))


def test_expected_goes_before_answer():
    assert roles(ColumnMapping(), ["answer", "expected"]).inputs == ("answer",)


def test_a_column_is_not_mapped_twice():
    with pytest.raises(InvalidInput, match="column 'x' is mapped twice; a column has one role"):
        roles(ColumnMapping(id="x", category="x"), ["x", "q"])

"""How a fault reads in one line."""

import pytest

from tiebreak.errors import Fault


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("", "empty"), "empty"),
        (Fault("/name", "missing"), "/name: missing"),
        (Fault("", "not JSON", line=3), "line 3: not JSON"),
        (Fault("/q", "empty", line=3, column=7), "line 3, column 7: /q: empty"),
    ],
)
def test_a_fault_names_what_it_knows_of_its_place(fault, text):
    assert str(fault) == text

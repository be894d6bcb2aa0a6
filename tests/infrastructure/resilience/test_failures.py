"""Each of many gets a failure of its own, equal to the one there was."""

import pickle
from typing import Self

import pytest

from tiebreak.errors import InvalidInput, TiebreakError
from tiebreak.infrastructure.resilience.failures import own_copy


class Vendor(TiebreakError):
    """Its arguments are not what it keeps in `args`, as with most errors that make their own text."""

    def __init__(self, name: str, *, calls: int) -> None:
        super().__init__(f"vendor {name} failed")
        self.calls = calls


class Insisting(Exception):
    def __new__(cls, *, only: int) -> Self:
        return super().__new__(cls, only)

    def __init__(self, *, only: int) -> None:
        super().__init__(only)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Vendor("acme", calls=3), id="own text"),
        pytest.param(InvalidInput("no"), id="product error"),
        pytest.param(ValueError("plain", 3), id="plain"),
        pytest.param(OSError(2, "No such file", "a.txt"), id="operating system"),
        pytest.param(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"), id="decoding"),
        pytest.param(pickle.PicklingError(), id="no arguments"),
        pytest.param(KeyError("k"), id="key"),
    ],
)
def test_it_is_another_one_of_the_same_type_and_text(error):
    cause = RuntimeError("why")
    with pytest.raises(type(error)) as caught:
        raise error from cause
    own = own_copy(caught.value)
    assert own is not error
    assert type(own) is type(error)
    assert (str(own), own.args, vars(own)) == (str(error), error.args, vars(error))
    assert own.__cause__ is cause
    assert own.__traceback__ is None
    assert error.__traceback__ is not None


def test_what_one_of_them_writes_the_others_do_not_read():
    error = Vendor("acme", calls=1)
    one, other = own_copy(error), own_copy(error)
    one.calls = 9
    assert (error.calls, other.calls) == (1, 1)


def test_a_type_that_cannot_be_copied_is_shared():
    error = Insisting(only=1)
    assert own_copy(error) is error

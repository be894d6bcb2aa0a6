import pytest

from tiebreak.experiments.plans import PlannedVariant
from tiebreak.ids import new_id
from tiebreak.providers.model import Failure
from tiebreak.runs.model import TaskKey
from tiebreak.runs.refusals import PATIENCE, Refusals, hits_every_call, reason
from tiebreak.runs.scoring import failed

VARIANT = PlannedVariant(
    key="a",
    provider_id=new_id(),
    provider="vendor",
    model="small",
    system=None,
    template="",
    parameters={},
)


def refusal(position: int, variant: int = 0, failure: str = Failure.AUTHENTICATION):
    return failed(TaskKey(position, variant, 0), failure, "provider 'vendor' answered 401: bad key", 1, "{}")


@pytest.mark.parametrize("failure", list(Failure))
def test_failures_of_the_one_request_are_results(failure):
    about_all = {
        "authentication",
        "not_found",
        "quota",
        "address_refused",
        "connection",
        "circuit_open",
    }
    assert hits_every_call(failure) == (failure in about_all)
    assert not hits_every_call(None)
    assert not hits_every_call("template")


def test_patience_ends_after_five_in_a_row_of_one_variant():
    refusals = Refusals()
    assert [refusals.add(refusal(n)) for n in range(PATIENCE)] == [False] * (PATIENCE - 1) + [True]
    assert not refusals.add(refusal(0, variant=1))


def test_an_answer_makes_results_of_what_was_held_back():
    refusals = Refusals()
    held = [refusal(n) for n in range(3)]
    for result in held:
        refusals.add(result)
    assert refusals.first() == held[0]
    assert not refusals.has_answered(0)
    assert refusals.answered(0) == held
    assert refusals.has_answered(0)
    assert refusals.answered(0) == []
    assert refusals.first() is None


def test_taking_leaves_nothing():
    refusals = Refusals()
    held = [refusal(0), refusal(1, variant=1)]
    for result in held:
        refusals.add(result)
    assert refusals.take() == held
    assert refusals.take() == []


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        (Failure.AUTHENTICATION, "`tiebreak provider set vendor`, then resume"),
        (Failure.NOT_FOUND, "`tiebreak provider models vendor` lists what it has; make 'small' available"),
        (Failure.QUOTA, "top the account up, then resume"),
        (Failure.ADDRESS_REFUSED, "TIEBREAK_OUTBOUND"),
        (Failure.CONNECTION, "see that it runs and can be reached, then resume"),
    ],
)
def test_the_reason_says_what_happened_and_what_to_do(failure, remedy):
    text = reason(VARIANT, refusal(0, failure=failure))
    assert text.startswith("provider 'vendor' answered 401: bad key; ")
    assert remedy in text


def test_what_opened_the_breaker_says_more_than_what_it_held_back():
    refusals = Refusals()
    for failure in (Failure.CIRCUIT_OPEN, Failure.CONNECTION, Failure.CIRCUIT_OPEN):
        refusals.add(refusal(0, failure=failure))
    assert refusals.telling(0).error == Failure.CONNECTION

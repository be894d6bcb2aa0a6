"""What a variant falls back on, and that it is told."""

import pytest
from tests.accounts import account_at

from tiebreak.providers.fallback import AllFailed, Fallback, Target, ask_in_order
from tiebreak.providers.model import ChatResponse, Failure, ProviderError, StopReason

TARGETS = [Target(account_at("http://x", name=name), "m") for name in ("one", "two", "three")]


def asking(*outcomes: Failure | None):
    """Each target's outcome: a failure after two calls, or an answer after one."""
    asked: list[str] = []

    async def ask(target: Target) -> ChatResponse:
        failure = outcomes[len(asked)]
        asked.append(target.name)
        if failure is not None:
            raise ProviderError(failure, f"{target.name} failed", calls=2)
        return ChatResponse("four", StopReason.STOP, "m", None, 0.1, None)

    return ask, asked


async def test_the_first_that_answers_is_the_answer_and_nobody_else_is_asked():
    ask, asked = asking(None)
    answered = await ask_in_order(TARGETS, ask)
    assert (answered.place, answered.fallbacks, answered.response.calls, asked) == (0, (), 1, ["one/m"])


@pytest.mark.parametrize(
    "failure",
    [Failure.SERVER_ERROR, Failure.CIRCUIT_OPEN, Failure.RATE_LIMITED, Failure.AUTHENTICATION, Failure.QUOTA],
)
async def test_the_vendors_failures_and_those_of_our_account_go_on_to_the_next(failure):
    ask, _ = asking(failure, failure, None)
    answered = await ask_in_order(TARGETS, ask)
    assert answered.place == 2
    assert answered.fallbacks == (
        Fallback("one/m", "two/m", failure, 2),
        Fallback("two/m", "three/m", failure, 2),
    )
    assert answered.response.calls == 5


@pytest.mark.parametrize("failure", [Failure.BAD_REQUEST, Failure.CONTENT_REFUSED, Failure.ADDRESS_REFUSED])
async def test_what_would_fail_everywhere_is_asked_nobody_else(failure):
    ask, asked = asking(failure, None)
    with pytest.raises(AllFailed) as caught:
        await ask_in_order(TARGETS, ask)
    assert (caught.value.failure, caught.value.calls, caught.value.fallbacks) == (failure, 2, ())
    assert asked == ["one/m"]


async def test_when_all_fail_the_last_failure_is_told_with_the_way_there():
    ask, _ = asking(Failure.TIMEOUT, Failure.SERVER_ERROR, Failure.QUOTA)
    with pytest.raises(AllFailed, match="three/m failed") as caught:
        await ask_in_order(TARGETS, ask)
    assert (caught.value.failure, caught.value.calls) == (Failure.QUOTA, 6)
    assert [each.failure for each in caught.value.fallbacks] == [Failure.TIMEOUT, Failure.SERVER_ERROR]

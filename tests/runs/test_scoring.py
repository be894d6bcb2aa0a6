import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runs.stage import definition

from tiebreak.errors import InvalidInput
from tiebreak.evaluation.model import Answer
from tiebreak.experiments.plans import PlannedVariant
from tiebreak.ids import new_id
from tiebreak.providers.account import Price
from tiebreak.providers.fallback import Answered, Fallback
from tiebreak.providers.model import NOTHING, ChatResponse, Message, Origin, StopReason, Usage
from tiebreak.runs import scoring
from tiebreak.runs.model import Plan, TaskKey

KEY = TaskKey(3, 1, 0)
PRICE = Price(Decimal("0.25"), Decimal(2), "list")


def planned(**changes) -> PlannedVariant:
    values = {"system": None, "template": "{{ question }}", "parameters": {"temperature": 0}, **changes}
    return PlannedVariant(key="a", provider_id=new_id(), provider="vendor", model="small", **values)


def writer(stream: bool = False, **changes) -> scoring.Writer:
    plan = Plan(definition=definition(), variants=[planned(**changes)], stream=stream)
    return scoring.build_writers(plan)[0]


def response(**changes) -> ChatResponse:
    values = {
        "text": "It is 4",
        "finish_reason": "stop",
        "model": "small-1",
        "usage": Usage(1000, 10),
        "latency": 0.0501,
        "first_token": None,
    }
    return ChatResponse(**values | changes)


def own(answer: ChatResponse) -> Answered:
    return Answered(answer, 0, ())


def test_a_request_has_the_rendered_messages_and_the_parameters():
    request = writer(system="Today: {{ question }}", stream=True).request({"question": "2 + 2?"})
    assert request.model == "small"
    assert request.messages == (Message("system", "Today: 2 + 2?"), Message("user", "2 + 2?"))
    assert request.parameters == {"temperature": 0}
    assert request.stream


def test_without_a_system_message_there_is_one_message():
    assert writer().request({"question": "2 + 2?"}).messages == (Message("user", "2 + 2?"),)


def test_inputs_that_the_template_cannot_take_are_named():
    with pytest.raises(InvalidInput, match="'question'"):
        writer().request({"other": 1})


def test_a_price_needs_both_sides():
    assert writer(input_price=Decimal(1)).prices == (None,)
    assert writer(input_price=Decimal(1), output_price=Decimal(2)).prices[0] == Price(
        Decimal(1), Decimal(2), "list"
    )


def test_cached_input_costs_what_the_run_began_with():
    variant = planned(input_price=Decimal(2), output_price=Decimal(10), cached_input_price=Decimal("0.5"))
    answer = response(usage=Usage(1000, 10, cached_tokens=800))
    assert scoring.answered(KEY, own(answer), variant.price(), "{}").cost_nano == 900_000


def test_every_check_says_its_value_and_reason():
    metrics = [
        {"name": "correct", "role": "primary", "check": {"kind": "numeric"}},
        {"name": "short", "check": {"kind": "length", "max": 3}},
        {"name": "error"},
    ]
    checks = scoring.build_checks(definition(metrics=metrics))
    assert not checks.slow
    assert json.loads(checks.score(Answer("It is 4", "stop", "4"))) == {
        "correct": [1.0, None],
        "short": [0.0, "too_long"],
    }
    assert json.loads(checks.score(Answer("no", "stop", None)))["correct"] == [None, "no_expected"]


@pytest.mark.parametrize("check", [{"kind": "regex", "pattern": "4"}, {"kind": "json_schema", "schema": {}}])
def test_checks_that_may_take_long_are_called_slow(check):
    assert scoring.build_checks(definition(metrics=[{"name": "c", "role": "primary", "check": check}])).slow


def test_an_answer_becomes_a_row():
    result = scoring.answered(KEY, own(response(first_token=0.02, calls=3)), PRICE, "{}")
    assert (result.key, result.text, result.error, result.calls) == (KEY, "It is 4", None, 3)
    assert (result.latency_us, result.first_token_us) == (50_100, 20_000)
    assert (result.input_tokens, result.output_tokens) == (1000, 10)
    assert result.cost_nano == 270_000


def test_an_answer_that_came_along_with_another_was_paid_there_and_took_no_time_of_its_own():
    draw = new_id()
    along = response(origin=Origin.FLIGHT, billed=NOTHING, calls=0, draw=draw, first_token=0.1)
    result = scoring.answered(KEY, own(along), PRICE, "{}")
    assert (result.cost_nano, result.calls, result.latency_us, result.first_token_us) == (0, 0, None, None)
    assert (result.input_tokens, result.output_tokens, result.draw) == (1000, 10, draw)
    assert json.loads(result.events or "") == [{"event": "shared", "origin": "flight"}]


def test_fallbacks_are_kept_in_their_order_with_an_answer_and_with_a_failure():
    fallback = Fallback("vendor/small", "vendor/large", "server_error", 3)
    event = {
        "event": "fallback",
        "from": "vendor/small",
        "to": "vendor/large",
        "failure": "server_error",
        "calls": 3,
    }
    result = scoring.answered(KEY, Answered(response(), 1, (fallback,)), PRICE, "{}")
    assert json.loads(result.events or "") == [event]
    failed = scoring.failed(KEY, "timeout", "late", 5, "{}", fallbacks=(fallback, fallback))
    assert json.loads(failed.events or "") == [event, event]
    assert scoring.answered(KEY, own(response()), PRICE, "{}").events is None


def test_cost_is_unknown_without_a_price_or_usage():
    assert scoring.answered(KEY, own(response()), None, "{}").cost_nano is None
    blind = scoring.answered(KEY, own(response(usage=None, finish_reason=None)), PRICE, "{}")
    assert (blind.cost_nano, blind.input_tokens, blind.output_tokens, blind.finish_reason) == (None,) * 4


def test_absurd_usage_fits_the_columns():
    result = scoring.answered(KEY, own(response(usage=Usage(10**12, -5))), PRICE, "{}")
    assert (result.input_tokens, result.output_tokens) == (2**31 - 1, 0)
    assert result.cost_nano == 250_000_000_000_000 - 10_000
    rich = Price(Decimal(10**6), Decimal(0), "list")
    assert (
        scoring.answered(KEY, own(response(usage=Usage(10**12, 0))), rich, "{}").cost_nano
        == scoring.MAX_COST_NANO
    )


def test_a_failure_keeps_a_bounded_detail():
    result = scoring.failed(KEY, "timeout", "x" * 1000, 2, "{}")
    assert (result.error, result.calls, result.text) == ("timeout", 2, None)
    assert len(result.error_detail) == scoring.MAX_DETAIL


@given(st.text(st.characters(codec=None, categories=None)))
def test_every_text_becomes_storable(text):
    kept = scoring.storable(text)
    kept.encode("utf-8")
    assert "\x00" not in kept
    if "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text):
        assert kept == text


def test_what_cannot_be_stored_is_marked():
    assert scoring.storable("a\x00b") == "a�b"
    assert scoring.storable("ä\ud800\x00") == "ä��"


def test_spending_counts_what_is_known():
    results = [scoring.answered(KEY, own(response()), price, "{}") for price in (PRICE, None, PRICE)]
    assert scoring.spent(results) == 540_000


@pytest.mark.parametrize(
    ("reason", "word", "kept"),
    [
        (StopReason.LENGTH, "max_tokens", "length"),
        (StopReason.OTHER, "pause_turn", "pause_turn"),
        (None, None, None),
    ],
)
def test_the_ending_is_kept_in_one_word_for_all_vendors_where_there_is_one(reason, word, kept):
    ended = scoring.answered(KEY, own(response(finish_reason=reason, vendor_reason=word)), PRICE, "{}")
    assert ended.finish_reason == kept

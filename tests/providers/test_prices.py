"""List prices by vendor and name, own prices within reason."""

import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.errors import InvalidInput
from tiebreak.providers.account import DatedPrice, Price
from tiebreak.providers.model import Usage
from tiebreak.providers.prices import HIGHEST, list_price, own, stated

AT = datetime(2026, 11, 1, tzinfo=UTC)
ELSEWHERE = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("model", "url", "price"),
    [
        ("gpt-4o", "https://api.openai.com/v1", ("2.5", "10", "1.25")),
        ("gpt-4o", ELSEWHERE, ("2.5", "10", "1.25")),
        # In steps by the length of the prompt: the lowest, of cached input, too.
        ("claude-sonnet-4-5", ELSEWHERE, ("3", "15", "0.3")),
        ("gpt-4o", "https://api.anthropic.com/v1", None),
        ("no-such-model", "https://api.openai.com/v1", None),
        ("no-such-model", ELSEWHERE, None),
        ("", ELSEWHERE, None),
    ],
)
def test_the_list_knows_models_by_vendor_and_name(model, url, price):
    expected = (
        None if price is None else Price(Decimal(price[0]), Decimal(price[1]), "list", Decimal(price[2]))
    )
    assert list_price(model, url, AT) == expected


def test_the_list_is_the_one_in_the_package():
    list_price("gpt-4o", ELSEWHERE, AT)
    assert get_snapshot().from_auto_update is False


@pytest.mark.parametrize("value", [-1.0, -1e-9, HIGHEST * 1.01, float("inf"), float("nan")])
def test_an_impossible_price_is_refused_with_its_value(value):
    with pytest.raises(InvalidInput, match=re.escape(f"input_price is {value:g};")) as caught:
        stated(value, "input_price")
    assert caught.value.faults[0].pointer == "/input_price"


@given(st.floats(0, HIGHEST))
def test_a_possible_price_is_kept_to_nine_places(value):
    kept = stated(value, "input_price")
    assert abs(kept - Decimal(value)) <= Decimal("5.1e-10") + Decimal(abs(value)) * Decimal("1e-15")
    assert kept == round(kept, 9)


def test_tokens_times_price_is_nano_dollars_rounded_once():
    price = Price(Decimal("0.15"), Decimal("0.6"), "list")
    assert price.cost_nano(Usage(1_000_000, 0)) == 150_000_000
    assert price.cost_nano(Usage(7, 3)) == 2850
    assert Price(Decimal("0.0005"), Decimal(0), "override").cost_nano(Usage(1, 0)) == 1


def test_cached_input_has_its_own_price_where_there_is_one():
    usage = Usage(1000, 100, cached_tokens=800)
    assert Price(Decimal(2), Decimal(10), "list", Decimal("0.5")).cost_nano(usage) == 1_800_000
    assert Price(Decimal(2), Decimal(10), "list").cost_nano(usage) == 3_000_000


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ((1.0, None, None, None), "output_price is missing: give both prices, or none"),
        ((None, 1.0, None, None), "input_price is missing: give both prices, or none"),
        ((None, None, 1.0, None), "input_price is missing: give both prices, or none"),
        ((None, None, None, AT), "input_price and output_price are missing: valid_from says since when"),
        ((1.0, 1.0, -2.0, None), "cached_input_price is -2; a price is 0 to"),
    ],
)
def test_half_a_price_names_what_is_missing(said, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        own(*said)


def test_an_own_price_is_kept_with_its_date():
    assert own(1.0, 2.0, 0.5, AT) == DatedPrice(Price(Decimal(1), Decimal(2), "override", Decimal("0.5")), AT)
    assert own(None, None, None, None) is None


def test_the_list_has_dated_prices_too():
    openai = "https://api.openai.com/v1"
    before, after = (list_price("o3", openai, AT.replace(year=year)) for year in (2024, 2026))
    assert before is not None
    assert after is not None
    assert (before.input, after.input) == (Decimal(10), Decimal(2))


def test_a_model_for_vectors_costs_what_goes_in():
    price = list_price("text-embedding-3-small", "https://api.openai.com/v1", AT)
    assert price is not None
    assert price.input > 0
    assert price.output == 0

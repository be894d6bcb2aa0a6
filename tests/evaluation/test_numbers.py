"""Numbers as people and models write them."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak.evaluation.numbers import last_number, only_number, within


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", "18"),
        ("A: 90,000", "90000"),
        ("$1,234.50.", "1234.50"),
        ("1,234,567.25", "1234567.25"),
        ("-3", "-3"),
        ("−3", "-3"),
        ("+3", "3"),
        ("-$129025", "-129025"),
        ("$-129,025", "-129025"),
        ("costs €5 today", "5"),
        ("15%", "15"),
        ("half is .5", "0.5"),
        ("wait...5", "5"),
        ("1.5e3", "1500"),
        ("2E-2", "0.02"),
        ("3eggs", "3"),
        ("16 - 3 = 13", "13"),
        ("10-5", "5"),
        ("(2)-5", "5"),
        ("50%-5", "5"),
        ("GPT-4", "4"),
        ("is =-5", "-5"),
        ("1,5", "5"),
        ("1,2345", "2345"),
        ("12345,678", "678"),
        ("1,234,5678", "5678"),
        ("1.2.3", "3"),
        ("The answer is **42**.", "42"),
        (r"\boxed{18}", "18"),
        ("٣", "3"),
        ("first 1 then 2", "2"),
    ],
)
def test_the_last_number_is_read_as_it_was_meant(text, number):
    assert last_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "no digits", "x²", "- $", "…", "e5".replace("5", "")])
def test_a_text_without_digits_has_no_number(text):
    assert last_number(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("18", "18"), (" 70,000\n", "70000"), ("$5.", "5"), ("15 %", "15"), ("5 €", "5"), ("−2.5", "-2.5")],
)
def test_an_expected_answer_may_carry_its_signs(text, number):
    assert only_number(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", " ", "1/2", "3 1/2", "5 or 6", "18 dollars", "2026-01-05", "H2O", "1,5"]
)
def test_an_expected_answer_that_is_not_one_number_is_none(text):
    assert only_number(text) is None


@settings(deadline=None)
@given(st.integers(-(10**30), 10**30), st.text(alphabet="abc .:\n"))
def test_grouped_and_plain_integers_read_alike(value, before):
    assert last_number(f"{before} {value}") == last_number(f"{before} {value:,}.") == Decimal(value)


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_a_decimal_written_out_reads_back_exactly(value):
    assert only_number(f"{value:f}") == value


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_without_an_error(text):
    number = last_number(text)
    assert number is None or number.is_finite()


def test_a_long_run_of_groups_is_read_in_one_pass():
    text = (
        ",".join(["111"] * 200_000) + "1"
    )  # quadratic reading would take hours, so that ending is the proof
    assert last_number(text) == 1111


def test_numbers_of_absurd_size_are_compared_not_refused():
    huge = last_number("9" * 1_500_000)
    assert huge is not None
    assert not within(huge, Decimal(9), 0.0)
    assert within(Decimal("1e999"), Decimal("1e999"), 0.0)


@pytest.mark.parametrize(
    ("found", "expected", "tolerance", "holds"),
    [
        ("0.3", "0.2", 0.1, True),  # binary floating point says no
        ("0.31", "0.2", 0.1, False),
        ("18.0", "18", 0.0, True),
        ("1" * 80, "1" * 79 + "2", 0.0, False),  # they differ in a digit that rounding to 60 would drop
        ("-5", "5", 0.0, False),
    ],
)
def test_closeness_is_decimal(found, expected, tolerance, holds):
    assert within(Decimal(found), Decimal(expected), tolerance) is holds

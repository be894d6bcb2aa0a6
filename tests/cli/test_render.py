"""The picture of a result: aligned, grey until something is decided, never wider than the terminal."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from tiebreak.analytics import wording
from tiebreak.cli import render
from tiebreak.cli.bars import ASCII, GREY, LINES, Axis, Row, axis_over, bar, scale
from tiebreak.cli.render import BAD, EVEN, GOOD, colour_of, kind_for, money, picture


def measured(mean: float | None, se: float | None = 0.01, **more: Any) -> dict[str, Any]:
    return {"mean": mean, "se": se, "n": 100, "unscored": 0, "reasons": {}} | more


def comparison(metric: str, difference: float | None, interval: Any, **more: Any) -> dict[str, Any]:
    return {
        "variant": "small",
        "control": "large",
        "metric": metric,
        "role": "primary",
        "direction": "higher",
        "unit": "points",
        "difference": difference,
        "se": 0.01,
        "interval": interval,
        "level": 0.95,
        "p_value": 0.5,
        "method": "paired_t",
        "discordant": None,
        "margin": None,
        "threshold": None,
        "decisive": False,
    } | more


DOCUMENT: dict[str, Any] = {
    "test": {"id": "1", "slug": "small-or-large", "name": "Small or large?", "state": "completed"},
    "run": {"id": "2", "state": "completed", "reason": None, "done": 200, "total": 200},
    "as_of": "2026-11-23T00:00:00Z",
    "variants": [
        {
            "key": "large",
            "n": 100,
            "metrics": {
                "accuracy": measured(0.2168, 0.0113),
                "latency_ms": measured(123.4, 3.0),
                "cost_usd": measured(0.00123, 0.00001),
                "time_to_first_token_ms": measured(None, None, unscored=100, reasons={"not_streamed": 100}),
            },
        },
        {
            "key": "small",
            "n": 100,
            "metrics": {
                "accuracy": measured(0.3472, 0.0131, unscored=2, reasons={"time_limit": 2}),
                "latency_ms": measured(103.4, 3.0),
                "cost_usd": measured(0.00093, 0.00001),
                "time_to_first_token_ms": measured(None, None, unscored=100, reasons={"not_streamed": 100}),
            },
        },
    ],
    "comparisons": [
        comparison("accuracy", 0.1304, [0.1035, 0.157], decisive=True, margin=0.02),
        comparison(
            "latency_ms",
            -20.0,
            [-26.0, -14.0],
            unit="ms",
            direction="lower",
            role="guardrail",
            threshold=30.0,
        ),
        comparison(
            "cost_usd", -0.0003, [-0.00032, -0.00028], unit="usd", direction="lower", role="secondary"
        ),
        comparison("time_to_first_token_ms", None, None, unit="ms", direction="lower", role="secondary"),
    ],
    "verdict": {
        "kind": "better",
        "variant": "small",
        "sentence": "small is better than large on accuracy by +13.0 points, 95 % interval [+10.4, +15.7].",
        "next_step": "Ship small.",
    },
    "spend": {"amount": 1.234, "currency": "USD", "calls": 200, "tokens": 123456},
}


def lines(document: dict[str, Any] = DOCUMENT, width: int = 80) -> list[str]:
    return [line.plain for line in picture(document, width)]


def line_of(word: str, document: dict[str, Any] = DOCUMENT, width: int = 80) -> Text:
    return next(line for line in picture(document, width) if line.plain.startswith(word))


def styles(line: Text) -> set[str]:
    return {str(span.style) for span in line.spans} | {str(line.style)}


def test_the_whole_picture_at_80_columns():
    assert lines() == [
        "Small or large?  completed · 200 of 200 responses",
        "",
        "metric         large   small        small − large [95 %]",
        "points                                                    −4  0              +17",
        "accuracy ↑    21.7 %  34.7 %        +13.0 [+10.3, +15.7]    ░░│░░       ━━━●━━  ",
        "ms                                                        −32       0        +36",
        "latency_ms ↓  123 ms  103 ms              −20 [−26, −14]    ━━●━━   │        ┊  ",
        "$ per 1,000 responses                                     −$0.35          +$0.03",
        "cost_usd ↓    $1.230  $0.930  −$0.300 [−$0.320, −$0.280]    ━●━              │  ",
        "",
        "small, accuracy: 2 unscored (time_limit 2)",
        "BETTER",
        "small is better than large on accuracy by +13.0 points, 95 % interval [+10.4,",
        "+15.7].",
        "Next: Ship small.",
        "Spend $1.23 · 200 calls · 123,456 tokens",
    ]


@pytest.mark.parametrize("width", [60, 72, 80, 100, 120])
def test_no_table_line_is_wider_than_the_terminal(width):
    assert max(len(line) for line in lines(width=width)) <= max(width, 72)


def test_numbers_are_never_cut_however_narrow():
    text = "\n".join(lines(width=40))
    assert "+13.0 [+10.3, +15.7]" in text
    assert "−$0.300 [−$0.320, −$0.280]" in text


def test_only_what_the_verdict_rests_on_has_colour():
    assert GOOD in styles(line_of("accuracy"))
    assert styles(line_of("latency_ms")) <= {"", GREY}
    assert styles(line_of("cost_usd")) <= {"", GREY}


@pytest.mark.parametrize("kind", ["collecting", "cannot_tell"])
def test_an_undecided_test_is_grey_all_over(kind):
    document = copy.deepcopy(DOCUMENT)
    document["verdict"]["kind"] = kind
    assert styles(line_of("accuracy", document)) <= {"", GREY}


@pytest.mark.parametrize(
    ("kind", "interval", "more", "colour"),
    [
        ("better", [0.1, 0.2], {}, GOOD),
        ("better", [-0.1, 0.2], {}, GREY),
        ("better", [-0.2, -0.1], {"direction": "lower"}, GOOD),
        ("worse", [-0.2, -0.1], {}, BAD),
        ("worse", [0.1, 0.2], {"direction": "lower"}, BAD),
        ("equivalent", [0.001, 0.01], {"margin": 0.02}, EVEN),
        ("not_worse_and_cheaper", [-0.01, 0.01], {"margin": 0.02}, EVEN),
        ("not_worse_and_cheaper", [-0.2, -0.1], {"direction": "lower"}, GOOD),
        ("better", [10.0, 20.0], {"direction": "lower", "threshold": 30.0}, EVEN),
        ("better", [10.0, 40.0], {"direction": "lower", "threshold": 30.0}, GREY),
        ("worse", [40.0, 50.0], {"direction": "lower", "threshold": 30.0}, BAD),
        ("worse", [-0.5, -0.4], {"threshold": 0.3}, BAD),
        ("unhealthy", [0.1, 0.2], {}, GREY),
        ("better", [0.1, 0.2], {"decisive": False}, GREY),
        ("better", None, {}, GREY),
    ],
)
def test_a_colour_says_what_was_decided(kind, interval, more, colour):
    assert colour_of(comparison("m", 0.1, interval, **({"decisive": True} | more)), kind) == colour


def test_each_variant_has_the_colour_of_its_own_conclusion():
    verdict = {"kind": "better", "conclusions": [{"variant": "tiny", "kind": "cannot_tell"}]}
    assert (kind_for("tiny", verdict), kind_for("small", verdict)) == ("cannot_tell", "better")


def test_an_interval_that_must_not_be_shown_yet_is_a_point():
    document = copy.deepcopy(DOCUMENT)
    document["comparisons"] = [comparison("accuracy", 0.1, None)]
    document["verdict"]["kind"] = "collecting"
    text = line_of("accuracy", document).plain
    assert "●" in text
    assert "━" not in text
    assert "[" not in text


def test_a_primary_metric_without_a_value_is_a_dash_with_its_reason():
    document = copy.deepcopy(DOCUMENT)
    document["variants"][1]["metrics"]["accuracy"] = measured(
        None, None, unscored=100, reasons={"no_expected": 100}
    )
    document["comparisons"] = [comparison("accuracy", None, None)]
    text = "\n".join(lines(document))
    assert "–" in line_of("accuracy", document).plain
    assert "small, accuracy: 100 unscored (no_expected 100)" in text


def test_several_variants_have_a_line_each():
    document = copy.deepcopy(DOCUMENT)
    document["variants"].append({"key": "tiny", "n": 100, "metrics": {"accuracy": measured(0.1)}})
    document["comparisons"] = [
        comparison("accuracy", 0.1304, [0.1, 0.16]),
        comparison("accuracy", -0.1, [-0.13, -0.07], variant="tiny"),
    ]
    text = lines(document)
    assert any(line.startswith("accuracy ↑ small") for line in text)
    assert any(line.startswith("accuracy ↑ tiny") for line in text)
    assert any("variant − large [95 %]" in line for line in text)


def test_intervals_of_different_levels_are_said():
    document = copy.deepcopy(DOCUMENT)
    document["comparisons"] = [
        comparison("accuracy", 0.1304, [0.1, 0.16], level=0.975),
        comparison("brevity", 0.1304, [0.1, 0.16]),
    ]
    text = "\n".join(lines(document))
    assert "small − large [interval]" in text
    assert "Intervals: 97.5 % for accuracy; 95 % for brevity" in text


def test_a_draft_has_a_verdict_and_no_table():
    document = copy.deepcopy(DOCUMENT)
    document |= {"run": None, "comparisons": []}
    text = lines(document)
    assert text[0] == "Small or large?  completed"
    assert "metric" not in "\n".join(text)


def test_a_document_without_later_keys_can_be_drawn():
    document = copy.deepcopy(DOCUMENT)
    for row in document["comparisons"]:
        for key in ("unit", "direction", "role", "margin", "threshold", "decisive"):
            del row[key]
    document["comparisons"] = document["comparisons"][:1]
    assert any(line.startswith("accuracy ") for line in lines(document))


def test_what_a_name_holds_cannot_steer_the_terminal():
    document = copy.deepcopy(DOCUMENT)
    document["test"]["name"] = "x\x1b[2Jy"
    document["verdict"]["sentence"] = "a\x07b"
    assert not any(char in line for line in lines(document) for char in "\x1b\x07")


def test_a_terminal_without_unicode_gets_ascii_bars():
    row = Row("m", wording.POINTS, "1", "2", "+1", 0.1, -0.05, 0.2, 0.02, None, GREY)
    drawn = bar(row, Axis(-0.1, 0.3, 30), ASCII).plain
    assert drawn.isascii()
    assert "o" in drawn


@given(
    st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e9), st.floats(0, 1e9)), min_size=1, max_size=6),
    st.integers(9, 60),
)
def test_bars_of_one_axis_are_aligned_and_hold_their_estimate(triples, width):
    rows = [
        Row("m", wording.MILLISECONDS, "", "", "", middle, middle - below, middle + above, None, None, GREY)
        for middle, below, above in triples
    ]
    axis = axis_over(rows, width)
    drawn = [bar(row, axis).plain for row in rows]
    assert {len(line) for line in drawn} == {width}
    for row, line in zip(rows, drawn, strict=True):
        assert row.estimate is not None
        assert line[axis.cell(row.estimate)] == LINES.point
    assert len(scale(axis, wording.MILLISECONDS, 0)) in (0, width)


def test_without_a_difference_the_axis_still_has_its_zero():
    row = Row("m", wording.POINTS, "", "", "", None, None, None, None, None, GREY)
    axis = axis_over([row], 21)
    assert bar(row, axis).plain == " " * 10 + "│" + " " * 10


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "–"),
        (0, "$0.00"),
        (12.345, "$12.35"),
        (1234.5, "$1,234.50"),
        (0.042, "$0.042"),
        (0.00012345, "$0.00012"),
    ],
)
def test_money_has_the_digits_that_matter(amount, text):
    assert money(amount) == text


def test_results_go_to_stdout_without_escapes_when_piped(capsys):
    render.print_results(DOCUMENT)
    said = capsys.readouterr().out
    assert "BETTER" in said
    assert "\x1b" not in said

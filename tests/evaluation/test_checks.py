"""What each check says of a response, and why."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tiebreak.errors import InvalidInput
from tiebreak.evaluation.checks import build, validate
from tiebreak.evaluation.model import Answer, CheckConfig, NumericCheck, Score

CONFIGS = TypeAdapter(CheckConfig)


def score(config, text, *, expected=None, finish="stop"):
    return build(CONFIGS.validate_python(config))(Answer(text, finish, expected))


RIGHT, WRONG = Score(1.0), Score(0.0)


@pytest.mark.parametrize(
    ("config", "text", "expected", "result"),
    [
        ({"kind": "exact"}, " Paris\n", "Paris", RIGHT),
        ({"kind": "exact"}, "paris", "Paris", WRONG),
        ({"kind": "exact", "ignore_case": True}, "STRASSE", "straße", RIGHT),
        ({"kind": "exact"}, "Paris.", "Paris", WRONG),
        ({"kind": "exact", "line": "A:"}, "Not Rome.\nA: Paris ", "Paris", RIGHT),
        ({"kind": "exact", "line": "A:"}, "Paris", "Paris", WRONG),
        ({"kind": "contains"}, "It is Paris.", "Paris", RIGHT),
        ({"kind": "contains"}, "It is paris.", "Paris", WRONG),
        ({"kind": "contains", "ignore_case": True}, "It is PARIS.", "Paris", RIGHT),
        ({"kind": "contains", "value": "so"}, "and so on", None, RIGHT),
        ({"kind": "contains", "value": "so"}, "Paris", "Paris", WRONG),
        ({"kind": "regex", "pattern": r"^\d+$"}, "18", None, RIGHT),
        ({"kind": "regex", "pattern": r"^\d+$"}, "18 eggs", None, WRONG),
        ({"kind": "regex", "pattern": "yes", "ignore_case": True}, "YES", None, RIGHT),
        ({"kind": "numeric"}, "first 3, then 18.", "18", RIGHT),
        ({"kind": "numeric"}, "first 18, then 3.", "18", WRONG),
        ({"kind": "numeric", "tolerance": 0.5}, "18.5", "18", RIGHT),
        ({"kind": "numeric", "tolerance": 0.5}, "18.51", "18", WRONG),
        ({"kind": "numeric", "line": "A:"}, "A: 5\n  A: $18.\nwell, 20", "18", RIGHT),
        ({"kind": "numeric", "line": "Part 2:"}, "Part 2: 18", "18", RIGHT),
        ({"kind": "length", "min": 2, "max": 4}, "four", None, RIGHT),
        ({"kind": "length", "unit": "words", "min": 2, "max": 2}, "two words", None, RIGHT),
        ({"kind": "length"}, "", None, RIGHT),
    ],
)
def test_a_response_is_right_or_wrong(config, text, expected, result):
    assert score(config, text, expected=expected) == result


@pytest.mark.parametrize(
    ("config", "text", "reason"),
    [
        ({"kind": "numeric"}, "eighteen", "no_number"),
        ({"kind": "numeric", "line": "A:"}, "18", "no_number"),
        ({"kind": "numeric", "line": "A 1:"}, "A 1: none", "no_number"),
        ({"kind": "length", "min": 5}, "four", "too_short"),
        ({"kind": "length", "max": 3}, "four", "too_long"),
        ({"kind": "json_schema", "schema": {}}, "{", "invalid_json"),
        ({"kind": "json_schema", "schema": {"type": "object"}}, "[]", "schema_mismatch"),
    ],
)
def test_a_wrong_response_says_what_it_lacks(config, text, reason):
    assert score(config, text, expected="18") == Score(0.0, reason)


EVERY_KIND = [
    {"kind": "exact"},
    {"kind": "contains"},
    {"kind": "regex", "pattern": "18"},
    {"kind": "numeric"},
    {"kind": "json_schema", "schema": {"type": "integer"}},
    {"kind": "length", "min": 1},
]


@pytest.mark.parametrize("config", EVERY_KIND, ids=lambda config: config["kind"])
def test_a_failed_call_is_wrong_and_counted(config):
    assert score(config, None, expected="18", finish=None) == Score(0.0, "failed")


@pytest.mark.parametrize(("finish", "reason"), [("length", "truncated"), ("content_filter", "refused")])
@pytest.mark.parametrize("config", EVERY_KIND, ids=lambda config: config["kind"])
def test_what_is_missing_from_an_answer_cut_short_is_put_down_to_that(config, finish, reason):
    assert score(config, "", expected="18", finish=finish) == Score(0.0, reason)


@pytest.mark.parametrize("finish", ["length", "content_filter", None])
@pytest.mark.parametrize("config", EVERY_KIND, ids=lambda config: config["kind"])
def test_an_answer_cut_short_that_holds_what_is_asked_for_is_right(config, finish):
    assert score(config, "18", expected="18", finish=finish) == RIGHT


@pytest.mark.parametrize("text", ["18", None])
@pytest.mark.parametrize("expected", [None, "", "  "])
@pytest.mark.parametrize("kind", ["exact", "contains", "numeric"])
def test_without_an_expected_answer_nothing_is_judged_not_even_a_failure(kind, expected, text):
    assert score({"kind": kind}, text, expected=expected) == Score(None, "no_expected")


def test_an_expected_answer_that_is_no_number_leaves_a_numeric_check_unscored():
    assert score({"kind": "numeric"}, "18", expected="eighteen") == Score(None, "no_expected")


def test_a_catastrophic_pattern_is_unscored_after_its_time_limit():
    config = {"kind": "regex", "pattern": "(a|aa)+$", "time_limit_ms": 20}
    assert score(config, "a" * 200 + "!") == Score(None, "time_limit")


def test_a_catastrophic_pattern_inside_a_schema_is_unscored_too():
    config = {"kind": "json_schema", "schema": {"pattern": "(a|aa)+$"}}
    assert score(config, json.dumps("a" * 200 + "!")) == Score(None, "time_limit")


def test_a_schema_that_turns_out_to_be_broken_is_unscored():
    config = {"kind": "json_schema", "schema": {"allOf": [{"$ref": "#"}]}}
    assert score(config, "{}") == Score(None, "broken_schema")


@pytest.mark.parametrize(
    ("config", "pointer", "message"),
    [
        (
            {"kind": "regex", "pattern": "("},
            "/pattern",
            "'(' is not a regular expression: missing ) at position 1; correct the pattern",
        ),
        (
            {"kind": "json_schema", "schema": {"$ref": "http://127.0.0.1:9/remote.json"}},
            "/schema",
            "the JSON Schema cannot be used: it refers to 'http://127.0.0.1:9/remote.json', which is not inside the "
            "schema; nothing is fetched, so put it under `$defs`; correct the schema",
        ),
        (
            {"kind": "length", "min": 5, "max": 3},
            "/max",
            "max 3 is below min 5; no text can have such a length, so swap them",
        ),
    ],
)
def test_a_check_that_can_never_work_is_refused_with_place_and_remedy(config, pointer, message):
    with pytest.raises(InvalidInput) as caught:
        validate(CONFIGS.validate_python(config))
    assert [(fault.pointer, fault.message) for fault in caught.value.faults] == [(pointer, message)]


@settings(deadline=None)
@given(st.text(), st.sampled_from(EVERY_KIND), st.sampled_from([None, "stop", "length"]))
def test_any_text_gets_a_score_of_0_or_1(text, config, finish):
    assert score(config, text, expected="18", finish=finish).value in {0.0, 1.0}


@pytest.mark.gsm8k
def test_the_recorded_models_get_exactly_the_published_number_of_questions_right():
    if not (folder := os.environ.get("TIEBREAK_GSM8K")):
        pytest.skip(
            "TIEBREAK_GSM8K is not set: name the folder with questions.jsonl and recorded_answers.jsonl"
        )
    questions, recorded = (
        [json.loads(line) for line in Path(folder, name).read_text(encoding="utf-8").splitlines()]
        for name in ("questions.jsonl", "recorded_answers.jsonl")
    )
    truth = {question["id"]: question["answer"] for question in questions}
    check = build(NumericCheck(kind="numeric", line="A:"))
    right = {"6b_finetuning": 0, "175b_finetuning": 0}
    for answer in recorded:
        value = check(Answer(answer["text"], "stop", truth[answer["id"]])).value
        assert value == float(answer["is_correct"]), answer["id"]
        right[answer["model"]] += int(value)
    assert (len(questions), right) == (1319, {"6b_finetuning": 286, "175b_finetuning": 458})

"""What a definition must say to be one."""

import pytest
from pydantic import ValidationError

from tiebreak.experiments import parts
from tiebreak.experiments.definition import Definition, digest, schema

GUARDRAIL = {"name": "latency_ms", "role": "guardrail", "threshold": 100}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metrics": [{"name": "m", "role": "primary"}]},
            "metric 'm' needs a `check`, or the name of a measure",
        ),
        (
            {"metrics": [{"name": "cost_usd", "role": "primary", "check": {"kind": "exact"}}]},
            "metric 'cost_usd' is measured on every response; give the check another name",
        ),
        ({"metrics": [{"name": "error", "role": "guardrail"}]}, "guardrail 'error' needs a `threshold`"),
        ({"metrics": [{"name": "error", "threshold": 1}]}, "metric 'error': `threshold` is for guardrails"),
        ({"metrics": [{"name": "error"}]}, "one metric must have `role: primary`"),
        ({"metrics": [{"name": "error", "role": "primary"}] * 2}, "metric 'error' is defined twice"),
        (
            {"decision": "not_worse_and_cheaper"},
            "decision not_worse_and_cheaper needs a `margin` on 'correct'",
        ),
        ({"decision": "guarded"}, "decision guarded needs a metric with `role: guardrail`"),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused(document, change, message):
    with pytest.raises(ValidationError) as caught:
        Definition.model_validate(document | change)
    assert message in str(caught.value)


def test_a_guarded_test_with_a_guardrail_is_one(document):
    metrics = [*document["metrics"], GUARDRAIL]
    definition = Definition.model_validate(document | {"decision": "guarded", "metrics": metrics})
    assert [metric.good for metric in definition.metrics] == ["higher", "lower"]


def test_a_direction_replaces_the_usual_one(document):
    document["metrics"][0]["direction"] = "lower"
    assert Definition.model_validate(document).metrics[0].good == "lower"


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"prompt": "p"}, "needs either `prompt` or `template`"),
        ({"template": None, "prompt": "p", "system": "s"}, "`system` goes with `template`"),
    ],
)
def test_a_variant_has_one_prompt(document, variant, message):
    document["variants"][0] |= variant
    with pytest.raises(ValidationError) as caught:
        Definition.model_validate(document)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Small or large?", "small-or-large"), ("日本", "test"), ("x" * 80, "x" * 60), ("-a-", "a")],
)
def test_a_slug_is_what_a_url_can_hold_of_a_name(document, name, slug):
    assert Definition.model_validate(document | {"name": name}).slug() == slug


def test_budget_and_concurrency_do_not_change_the_digest_and_everything_else_does(document):
    first = digest(Definition.model_validate(document))
    assert (
        digest(Definition.model_validate(document | {"budget": {"max_cost": 1}, "concurrency": 3})) == first
    )
    for change in ({"seed": 1}, {"repeats": 2}, {"level": 0.9}, {"dataset": "d"}, {"sample": {"size": 3}}):
        assert digest(Definition.model_validate(document | change)) != first


def test_what_only_live_traffic_has_leaves_the_digest_of_a_run_as_it_is(document):
    before = digest(Definition.model_validate(document))
    document["variants"][0]["weight"] = 3
    live = {"share": 0.5, "holdout": 0.1, "unit": "conversation", "record": "full"}
    assert digest(Definition.model_validate(document | live)) == before


def test_a_definition_asks_nothing_of_live_traffic_by_itself(document):
    read = Definition.model_validate(document)
    assert (read.share, read.holdout, read.unit, read.record) == (1, 0, "user", "metadata")
    assert [variant.weight for variant in read.variants] == [1, 1]


def test_without_a_dataset_a_variant_may_leave_the_callers_messages_as_they_are(document):
    document["variants"][0].pop("template")
    document["variants"][1] = {"key": "small", "model": "local/small", "system": "Be brief."}
    assert parts.faults(Definition.model_validate(document)) == []
    refused = parts.faults(Definition.model_validate(document | {"dataset": "sums"}))
    assert [fault.pointer for fault in refused] == ["/variants/0", "/variants/1"]


def test_the_schema_names_every_part():
    assert {"Variant", "Metric", "Budget", "Sample"} <= schema()["$defs"].keys()

"""What a live plan asks of a request and what a variant makes of it."""

from uuid import UUID

import pytest

from tiebreak.errors import InvalidInput
from tiebreak.experiments.definition import Definition
from tiebreak.experiments.plans import LivePlan, PlannedVariant
from tiebreak.experiments.prompting import Prompting, Wording

INPUTS = {"input": "2 + 2?", "system": "Be kind.", "tone": "dry"}


def variant(system, template):
    return PlannedVariant(
        key="a",
        provider_id=UUID(int=1),
        provider="p",
        model="m",
        system=system,
        template=template,
        parameters={},
    )


@pytest.mark.parametrize(
    ("system", "template", "wording"),
    [
        (None, None, Wording(None, None)),
        ("Be brief.", None, Wording("Be brief.", None)),
        ("{{ system }} Be {{ tone }}.", None, Wording("Be kind. Be dry.", None)),
        (None, "Solve: {{ input }}", Wording(None, "Solve: 2 + 2?")),
    ],
)
def test_a_variant_replaces_what_it_has_a_text_for_and_leaves_the_rest(system, template, wording):
    assert Prompting.of(variant(system, template)).wording(INPUTS) == wording


def test_what_a_caller_sends_can_make_a_template_fail():
    with pytest.raises(InvalidInput, match="the template cannot be used"):
        Prompting.of(variant(None, "{{ tone / 2 }}")).wording(INPUTS)


def plan(variables):
    definition = Definition.model_validate(
        {
            "name": "t",
            "variants": [{"key": key, "model": "p/m"} for key in ("a", "b")],
            "metrics": [{"name": "cost_usd", "role": "primary"}],
        }
    )
    return LivePlan(definition=definition, variants=(variant(None, None),), variables=variables)


def test_a_request_brings_the_variables_and_cannot_replace_what_the_messages_say():
    sent = {"tone": "dry", "input": "mine", "more": 1}
    assert plan(("tone",)).inputs(input="2 + 2?", system="", variables=sent) == {
        "tone": "dry",
        "more": 1,
        "input": "2 + 2?",
        "system": "",
    }


def test_a_request_without_a_variable_is_told_which():
    with pytest.raises(InvalidInput) as caught:
        plan(("mood", "tone")).inputs(input="", system="", variables={"tone": "dry"})
    assert caught.value.detail == (
        """the prompts of this test use 'mood'; send "variables": {"mood": …} with the request"""
    )

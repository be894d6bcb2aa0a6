"""Definitions from files: what is read, and every error text with its line and column."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.errors import InvalidInput, PayloadTooLarge
from tiebreak.experiments.definition import Decision, Definition, Role, digest
from tiebreak.experiments.documents import parse

GOOD = """\
name: Small or large?
hypothesis: The small one is as good.
variants:
  - key: large
    model: local/large
    template: &ask |
      {{ question }}
      End with "A: <number>".
  - key: small
    model: local/small
    template: *ask
    parameters: {temperature: 0.2, top_k: 1e-1, stop: ["\\n"]}
metrics:
  - name: correct
    role: primary
    margin: 0.02
    check: {kind: numeric, line: "A:"}
  - name: cost_usd
decision: not_worse_and_cheaper
budget: {max_cost: 1.5}
"""


def fault_of(text, name="test.yaml"):
    with pytest.raises(InvalidInput) as caught:
        parse(text, name=name)
    assert caught.value.detail.startswith(f"{name}: ")
    fault = caught.value.faults[0]
    return fault.line, fault.column, fault.pointer, fault.message


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_a_definition_is_read_with_its_anchors_and_numbers():
    definition = parse(GOOD, name="test.yaml")
    assert definition.decision is Decision.NOT_WORSE_AND_CHEAPER
    assert definition.variants[0].template == definition.variants[1].template
    assert definition.variants[1].parameters == {"temperature": 0.2, "top_k": 0.1, "stop": ["\n"]}
    assert definition.metrics[0].role is Role.PRIMARY


def test_bytes_with_a_byte_order_mark_are_read_too():
    assert parse(b"\xef\xbb\xbf" + GOOD.encode(), name="test.yaml") == parse(GOOD, name="test.yaml")


def test_json_is_read_with_the_escapes_that_only_json_has():
    document = yaml.safe_load(GOOD)
    document["variants"][0]["template"] = document["variants"][1]["template"] = "😀 / \\ud83d {{ q }}"
    text = json.dumps(document, indent="\t").replace("/", "\\/")
    assert parse(text, name="test.json").variants[0].template == "😀 / \\ud83d {{ q }}"


def test_merged_keys_are_overridden_by_own_ones_and_by_earlier_sources():
    text = GOOD.replace(
        '    model: local/small\n    template: *ask\n    parameters: {temperature: 0.2, top_k: 1e-1, stop: ["\\n"]}\n',
        "    <<: [{model: local/small, template: *ask}, {model: local/other}]\n    template: '{{ q }}'\n",
    )
    variant = parse(text, name="test.yaml").variants[1]
    assert (variant.model, variant.template) == ("local/small", "{{ q }}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", (1, 1, "", "the file is empty")),
        ("# nothing\n", (1, 1, "", "the file is empty")),
        ("name: a\n  b: c\n", (2, 4, "", "not YAML: mapping values are not allowed in this context")),
        (
            'name: "open\n',
            (2, 1, "", "not YAML: while scanning a quoted scalar, found unexpected end of stream"),
        ),
        ("a: *b\n", (1, 4, "", "not YAML: found undefined alias")),
        (
            "a: 1\n---\nb: 2\n",
            (2, 1, "", "not YAML: expected a single document in the stream, but found another document"),
        ),
        ("a: &x [*x]\n", (1, 8, "", "the alias *x stands inside what it repeats")),
        ("a: " + "[" * 60 + "]" * 60, (1, 53, "", "nested deeper than 50 levels")),
        ("[" + "1," * 10_001 + "]", (1, 20000, "", "over 10000 values, those repeated by aliases counted")),
        (
            "a: !!python/object:os.system x\n",
            (1, 4, "/a", "the tag !!python/object:os.system is not taken here"),
        ),
        ("a: !mine x\n", (1, 4, "/a", "the tag !mine is not taken here")),
        ("a: !!set {x}\n", (1, 4, "/a", "the tag !!set is not taken here")),
        ("a: !!int x\n", (1, 4, "/a", "'x' is no int (ValueError)")),
        ("a: !!bool x\n", (1, 4, "/a", "'x' is no bool (KeyError)")),
        ("a: " + "9" * 5000, (1, 4, "/a", f"{'9' * 40!r} is no int (ValueError)")),
        ("a: 2026-01-02\n", (1, 4, "/a", "2026-01-02 is a date in YAML; put it in quotes to make it text")),
        ("a: 1\nb: 2\na: 3\n", (3, 1, "/a", "the key 'a' is there twice")),
        ("1: a\n", (1, 1, "", "a key has to be text; put it in quotes")),
        ("? [a]\n: b\n", (1, 3, "", "a key has to be text; put it in quotes")),
        ("<<: 3\n", (1, 5, "", "`<<` takes a mapping, or a list of them")),
        ("a: \x07\n", (1, 4, "", "the character U+0007 does not belong in a text file; remove it")),
        (b"a: 1\nb: x\xff\n", (2, 5, "", "the byte 0xff is not UTF-8; save the file as UTF-8")),
        ("- a\n", (1, 1, "", None)),
        ("just text\n", (1, 1, "", None)),
    ],
)
def test_what_is_not_yaml_of_ours_is_named_with_its_place(text, fault):
    line, column, pointer, message = fault_of(text)
    assert (line, column, pointer) == fault[:3]
    assert message == (fault[3] or message)


def test_an_alias_bomb_is_refused_by_counting():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    line, _, _, message = fault_of("\n".join(rows))
    assert message == "over 10000 values, those repeated by aliases counted"
    assert line == 4


def test_a_file_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(PayloadTooLarge, match=r"test.yaml: 1000001 bytes; such a file has at most 1000000"):
        parse("x" * 1_000_001, name="test.yaml")


KEYS = ", ".join(Definition.model_fields)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            changed("hypothesis:", "hypotesis:"),
            (2, 1, "/hypotesis", "unknown key 'hypotesis'; did you mean 'hypothesis'?"),
        ),
        (
            changed("decision:", "xyz: 1\ndecision:"),
            (19, 1, "/xyz", f"unknown key 'xyz'; known here: {KEYS}"),
        ),
        (
            changed('line: "A:"', "tolerence: 1"),
            (17, 28, "/metrics/0/check/tolerence", "unknown key 'tolerence'; did you mean 'tolerance'?"),
        ),
        (changed("name: Small or large?\n", ""), (1, 1, "/name", "the key 'name' is missing")),
        (changed("    model: local/small\n", ""), (9, 5, "/variants/1/model", "the key 'model' is missing")),
        (
            changed("kind: numeric, ", ""),
            (
                17,
                12,
                "/metrics/0/check",
                "the key 'kind' is missing; it is one of: contains, exact, json_schema, length, numeric, regex",
            ),
        ),
        (
            changed("kind: numeric", "kind: number"),
            (
                17,
                19,
                "/metrics/0/check/kind",
                "'number' is none of: contains, exact, json_schema, length, numeric, regex",
            ),
        ),
        (
            changed("kind: numeric, line", "kind: json_schema, line"),
            (17, 12, "/metrics/0/check/schema", "the key 'schema' is missing"),
        ),
        (
            changed("{max_cost: 1.5}", "3"),
            (
                20,
                9,
                "/budget",
                "has to be an object with keys (max_cost, max_requests, max_seconds), not a number",
            ),
        ),
        (
            changed("key: small", "key: no"),
            (
                9,
                10,
                "/variants/1/key",
                "has to be text, and False is a boolean; put it in quotes to make it text",
            ),
        ),
        (changed("key: small", "key:"), (9, 9, "/variants/1/key", "has to be text, not nothing")),
        (
            changed("key: small", "key: The Small"),
            (9, 10, "/variants/1/key", "'The Small' does not have the form ^[a-z0-9][a-z0-9_.-]{0,63}$"),
        ),
        (
            changed("decision: not_worse_and_cheaper", "decision: best"),
            (19, 11, "/decision", "has to be 'better', 'not_worse_and_cheaper' or 'guarded'; it is 'best'"),
        ),
        (
            changed("max_cost: 1.5", "max_cost: -1"),
            (20, 20, "/budget/max_cost", "has to be greater than or equal to 0; it is -1"),
        ),
        (
            changed("variants:", "variants: []\nx:"),
            (
                3,
                11,
                "/variants",
                "List should have at least 2 items after validation, not 0".replace(
                    "List should have", "has to have"
                ),
            ),
        ),
        (
            changed("name: Small or large?", "name: [a]"),
            (1, 7, "/name", "has to be text, not a list"),
        ),
        (changed("key: small", "key: large"), (1, 1, "", "variant 'large' is defined twice")),
        (
            changed("    template: *ask\n", "").replace("budget:", "dataset: sums\nbudget:"),
            (
                9,
                5,
                "/variants/1",
                "variant 'small': it needs either `prompt` or `template`, because the items of a dataset are no messages",
            ),
        ),
        (
            changed("    template: *ask\n", "    template: *ask\n    prompt: solve\n"),
            (9, 5, "/variants/1", "variant 'small' needs either `prompt` or `template`, not both"),
        ),
        (
            changed("    template: *ask\n", "    template: *ask\n    weight: -1\n"),
            (12, 13, "/variants/1/weight", "has to be greater than or equal to 0; it is -1"),
        ),
        (
            changed("decision:", "share: 1.5\ndecision:"),
            (19, 8, "/share", "has to be less than or equal to 1; it is 1.5"),
        ),
        (
            changed("decision:", "holdout: 1\ndecision:"),
            (19, 10, "/holdout", "has to be less than 1; it is 1"),
        ),
        (
            changed("decision:", "unit: account\ndecision:"),
            (19, 7, "/unit", "has to be 'user', 'conversation' or 'request'; it is 'account'"),
        ),
        (
            changed("decision:", "record: all\ndecision:"),
            (19, 9, "/record", "has to be 'none', 'metadata' or 'full'; it is 'all'"),
        ),
        (
            changed("    template: *ask\n", "    template: *ask\n    weight: 0.00001\n"),
            (
                4,
                3,
                "/variants",
                "the weight 1e-05 of variant 'small' is less than one of 10000 buckets; "
                "give it at least 0.01 % of the sum of the weights, or 0",
            ),
        ),
        (changed("0.2", ".inf"), (1, 1, "", "key 'temperature' is inf, which JSON does not have")),
        (
            changed("    template: *ask", "    template: '{{ q'"),
            (11, 15, "/variants/1/template", None),
        ),
        (
            changed('{kind: numeric, line: "A:"}', "{kind: regex, pattern: '(a'}"),
            (17, 35, "/metrics/0/check/pattern", None),
        ),
        (
            changed('{kind: numeric, line: "A:"}', "{kind: json_schema, schema: {$ref: 'https://x.test/s'}}"),
            (17, None, None, None),
        ),
    ],
)
def test_what_is_not_a_definition_is_named_with_its_place(text, fault):
    line, column, pointer, message = fault_of(text)
    assert line == fault[0]
    assert (column, pointer, message) == (fault[1] or column, fault[2] or pointer, fault[3] or message)


def test_a_broken_template_or_check_is_named_by_its_variant_or_metric():
    with pytest.raises(InvalidInput) as caught:
        parse(
            GOOD.replace("{{ question }}", "{{ question").replace(
                'kind: numeric, line: "A:"', "kind: regex, pattern: '('"
            ),
            name="t.yaml",
        )
    messages = [fault.message for fault in caught.value.faults]
    assert messages[0].startswith("variant 'large', template: the template cannot be used: line ")
    assert messages[-1].startswith("metric 'correct': ")


def test_many_faults_are_counted_and_the_first_are_shown_in_the_order_of_the_file():
    text = GOOD + "".join(f"zz{n}: 1\n" for n in range(8))
    with pytest.raises(InvalidInput) as caught:
        parse(text, name="t.yaml")
    assert caught.value.detail.startswith("t.yaml: line 21, column 1: /zz0: unknown key 'zz0'")
    assert caught.value.detail.endswith("; and 3 more")
    assert [fault.line for fault in caught.value.faults] == list(range(21, 29))


def test_the_digest_leaves_out_what_does_not_change_the_comparison():
    first = parse(GOOD, name="a.yaml")
    same = parse(GOOD.replace("1.5", "20") + "concurrency: 64\n", name="b.yaml")
    other = parse(GOOD.replace("0.02", "0.03"), name="c.yaml")
    assert digest(first) == digest(same)
    assert digest(first) != digest(other)
    assert digest(Definition.model_validate(first.model_dump(mode="json"))) == digest(first)


@given(st.text(alphabet="a: -[]{}&*!|>'\"\n#<%@,?1.", max_size=60))
def test_any_text_is_a_definition_or_invalid_input(text):
    with pytest.raises(InvalidInput) as caught:
        parse(text, name="t.yaml")
    assert all(fault.line is not None for fault in caught.value.faults)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_definition_or_invalid_input(data):
    with pytest.raises(InvalidInput):
        parse(data, name="t.yaml")

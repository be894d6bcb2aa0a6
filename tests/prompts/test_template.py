"""Templates: what they may do, and that what they may not do ends early with a reason."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.errors import InvalidInput
from tiebreak.prompts import template

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "inputs", "expected"),
    [
        ("", {}, ""),
        ("Q: {{ q }}\n", {"q": "why?"}, "Q: why?\n"),
        ("{{ q }}", {"q": "<b> & 'c'"}, "<b> & 'c'"),
        ("{{ q|tojson }}", {"q": {"é": "<&>"}}, '{"é": "<&>"}'),
        ("{{ q|default('none') }}", {}, "none"),
        ("{% if hint is defined %}{{ hint }}{% else %}no{% endif %}", {}, "no"),
        (
            "{% for x in xs %}{{ loop.index }}{{ x }}{{ '' if loop.last else ',' }}{% endfor %}",
            {"xs": "ab"},
            "1a,2b",
        ),
        ("{% set a = q ~ '!' ~ 1 %}{{ a.upper() }}", {"q": "x"}, "X!1"),
        ("{{ [q ~ 1, q + '2']|join('/') }}", {"q": "x"}, "x1/x2"),
        ("{{ xs|map('upper')|join(', ') }}", {"xs": ["a", "b"]}, "A, B"),
        ("{{ q|replace('a', 'bb') }}", {"q": "aXa"}, "bbXbb"),
        ("{{ 3 * 4 % 5 }}{% for i in range(3) %}{{ i }}{% endfor %}", {}, "2012"),
        ("{{ item.items }} {{ item.title }}", {"item": {"items": 3, "title": "t"}}, "3 t"),
        ("{% for k, v in item.items() %}{{ k }}={{ v }}{% endfor %}", {"item": {"a": 1}}, "a=1"),
        ("{% raw %}{{ q }}{% endraw %}{# a comment #}", {}, "{{ q }}"),
    ],
)
def test_a_template_prints_values_decides_and_goes_through_lists(text, inputs, expected):
    assert template.render(text, inputs) == expected


def test_variables_are_those_a_template_cannot_do_without():
    text = (
        "{{ a }}{% for b in bs %}{{ b }}{% endfor %}{{ c|default('') }}{{ d if d is defined }}{{ range(2) }}"
    )
    assert template.variables(text) == {"a", "bs"}


def test_a_missing_variable_is_named_with_what_there_is():
    with pytest.raises(InvalidInput) as caught:
        template.render("{{ question }} {{ hint }}", {"answer": "1", "body": "2"})
    assert caught.value.detail == (
        "the template needs 'hint', 'question'; the inputs there are: answer, body"
    )


def test_a_missing_variable_is_found_without_any_inputs():
    with pytest.raises(InvalidInput, match="the inputs there are: none"):
        template.render("{{ question }}", {})


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("a\nb {% if %}", "Expected an expression", 2),
        ("{{ x|nope }}", "No filter named 'nope'", 1),
        ("{{ x|format }}", "No filter named 'format'", 1),
        ("{{ x is nope }}", "No test named 'nope'", 1),
        ("\n{% include 'x' %}", "`include` is not part of prompt templates", 2),
        ("{% macro x() %}{% endmacro %}", "`macro` is not part", 1),
        ("{% filter upper %}a{% endfilter %}", "`filterblock` is not part", 1),
        ("{{ 9 ** 9 }}", "`pow` is not part", 1),
        ("{% set ns.x = 1 %}", "`nsref` is not part", 1),
        ("{% for x in y recursive %}{% endfor %}", "`recursive` loops", 1),
        ("{{ ''.format(1) }}", "only `range` and these methods can be called", 1),
        ("{{ lipsum() }}", "only `range` and these methods can be called", 1),
        ("{{ xs[0]() }}", "only `range` and these methods can be called", 1),
        ("{{ self }}", "`self` is not a variable", 1),
        ("{{ " + "(" * 1000 + "1" + ")" * 1000 + " }}", "too deeply nested", None),
        ("{{ " + "9" * 5000 + " }}", "a number too long", None),
        ("{{ " + "1+" * 5000 + "1 }}", "too deeply nested", None),
        ("{% for a in x %}" * 30 + "{% endfor %}" * 30, "too deeply nested", None),
    ],
)
def test_what_is_not_a_prompt_template_is_refused_before_any_rendering(text, reason, line):
    with pytest.raises(InvalidInput) as caught:
        template.variables(text)
    assert reason in caught.value.detail
    assert caught.value.faults[0].line == line


@pytest.mark.parametrize(
    ("text", "inputs", "reason"),
    [
        ("x\n{{ q.author }}", {"q": {}}, "line 2: 'dict object' has no attribute 'author'"),
        ("{{ ''.__class__ }}", {}, "'__class__' of 'str' object is unsafe"),
        ("{{ 1 / 0 }}", {}, "division by zero"),
        ("{{ a + 1 }}", {"a": "s"}, "can only concatenate str"),
        ("{{ xs|map('pprint')|list }}", {"xs": [1]}, "No filter named 'pprint'"),
        ("{{ 'a' * 1000000000 }}", {}, "`*` is for numbers"),
        ("{{ '%100000000d' % 1 }}", {}, "`%` is for numbers"),
        ("{{ n * n }}", {"n": 2**65}, "beyond 64 bits"),
        ("{% for i in range(999999) %}{% endfor %}", {}, "Range too big"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            {},
            "loops turn more than 100000 times",
        ),
        ("{% for x in q %}{% endfor %}", {"q": 3}, "not iterable"),
        ("{% set x = q %}" + "{% set x = x ~ x %}" * 60, {"q": "a"}, "joined to over 20000000"),
        ("{% set x = q %}" + "{% set x = x + x %}" * 60, {"q": "a"}, "grows over 20000000"),
        ("{% set x = q %}" + "{% set x = x|tojson %}" * 60, {"q": "a"}, "grows over 20000000"),
        (
            "{{ x|replace('', x)|replace('', x) }}",
            {"x": "a" * 5000},
            "grows over 20000000 characters by `replace`",
        ),
        ("{{ x }}", {"x": "b" * 1_000_001}, "a message of over 1000000 characters"),
    ],
)
def test_a_rendering_that_fails_or_grows_without_end_is_stopped_with_the_reason(text, inputs, reason):
    with pytest.raises(InvalidInput) as caught:
        template.render(text, inputs)
    assert reason in caught.value.detail


def test_a_compiled_template_counts_turns_anew_for_every_rendering():
    render = template.compile("{% for i in range(60000) %}{% endfor %}{{ q }}")
    assert [render({"q": n}) for n in "abc"] == ["a", "b", "c"]


@given(value=JSON)
def test_any_json_value_can_be_printed_and_written_as_json(value):
    assert template.render("{{ v }}", {"v": value}) == str(value)
    assert template.render("{{ v|tojson }}", {"v": value})


@given(text=st.text(alphabet="{%}#abif for in|.()[]+~'1 ", max_size=40))
def test_any_text_is_a_template_or_invalid_input(text):
    with contextlib.suppress(InvalidInput):
        assert isinstance(template.render(text, {"a": "x", "b": [1, 2], "i": 3}), str)

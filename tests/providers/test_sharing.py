"""Which requests may share an answer, and that the names of two callers never meet."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.accounts import account_at

from tiebreak.providers.model import ChatRequest, EmbeddingRequest, ImagePart, Message, TextPart, Tool
from tiebreak.providers.sharing import Scope, is_deterministic, key_of, merges, shares

SHOP = account_at("http://x", provider_id=UUID(int=7))
ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {})
COLD = replace(ASK, temperature=0)
TEXTS = EmbeddingRequest("vectors", ("one",))
DIRECT, OWN, SHARED = Scope.direct("key 1"), Scope.own("run 1"), Scope.shared("t", "1", "a")


@pytest.mark.parametrize(
    ("request_", "same"),
    [
        (ASK, False),
        (COLD, True),
        (replace(ASK, temperature=0.0), True),
        (replace(ASK, temperature=0.7), False),
        (replace(ASK, parameters={"temperature": 0}), True),
        (replace(ASK, parameters={"temperature": 1}), False),
        (replace(ASK, parameters={"temperature": False}), False),
        (replace(ASK, parameters={"temperature": "0"}), False),
        (replace(COLD, n=2), False),
        (replace(ASK, parameters={"temperature": 0, "n": 2}), False),
        (replace(ASK, temperature=0.7, parameters={"temperature": 0}), False),
    ],
)
def test_one_sample_at_temperature_zero_is_deterministic(request_, same):
    assert is_deterministic(request_) is same
    assert shares(DIRECT, request_) is same


@pytest.mark.parametrize("request_", [ASK, COLD, TEXTS])
def test_units_and_tasks_share_nothing_whatever_they_ask_unless_the_test_says_so(request_):
    assert not shares(OWN, request_)
    assert shares(SHARED, request_)


def test_sampled_requests_of_one_caller_are_merged_and_others_are_not():
    assert merges(DIRECT, ASK)
    assert not merges(DIRECT, COLD)  # shares one answer instead
    assert not merges(DIRECT, replace(ASK, stream=True))
    assert not merges(DIRECT, replace(ASK, n=3))
    assert not merges(DIRECT, replace(ASK, parameters={"n": 3}))
    assert not merges(DIRECT, replace(ASK, seed=0))  # of several samples only one is that seed's
    assert not merges(DIRECT, replace(ASK, parameters={"seed": 7}))
    assert not merges(OWN, ASK)
    assert not merges(SHARED, ASK)


def test_how_an_answer_travels_is_no_part_of_the_name():
    assert key_of(DIRECT, SHOP, COLD) == key_of(DIRECT, SHOP, replace(COLD, stream=True))


def test_the_order_of_parameters_is_no_part_of_the_name():
    one = replace(COLD, parameters={"a": {"x": 1, "y": 2}, "b": 2})
    other = replace(COLD, parameters={"b": 2, "a": {"y": 2, "x": 1}})
    assert key_of(DIRECT, SHOP, one) == key_of(DIRECT, SHOP, other)


VARIED = [
    ASK,
    COLD,
    replace(ASK, model="large"),
    replace(ASK, messages=(Message("user", "2 + 3?"),)),
    replace(ASK, messages=(Message("system", "2 + 2?"),)),
    replace(ASK, messages=(Message("user", (TextPart("2 + 2?"),)),)),
    replace(ASK, messages=(Message("user", (ImagePart(url="2 + 2?"),)),)),
    replace(ASK, messages=(Message("user", "2"), Message("user", "+ 2?"))),
    replace(ASK, parameters={"top_k": 1}),
    replace(ASK, parameters={"top_k": "1"}),
    replace(ASK, seed=1),
    replace(ASK, tools=(Tool("add", {}),)),
    replace(ASK, output="json"),
    replace(ASK, stop=("x",)),
    TEXTS,
    EmbeddingRequest("vectors", ("one", "two")),
    EmbeddingRequest("vectors", ("onetwo",)),
    EmbeddingRequest("vectors", ("one",), dimensions=8),
]


def test_whatever_makes_two_requests_differ_makes_their_names_differ():
    assert len({key_of(DIRECT, SHOP, request) for request in VARIED}) == len(VARIED)


CRAFTED = st.text(alphabet=st.sampled_from('ab:|"\\{}[]\u00e9e\u0301\x00 1'), max_size=6)
SCOPES = st.one_of(
    CRAFTED.map(Scope.direct),
    CRAFTED.map(Scope.own),
    st.tuples(CRAFTED, CRAFTED, CRAFTED).map(lambda t: Scope.shared(*t)),
)


@st.composite
def asked(draw):
    """Somebody's request: scope, account and question, each from few values, so that equal parts meet often."""
    account = account_at(
        draw(st.sampled_from(["http://x", "http://y"])),
        provider_id=UUID(int=draw(st.integers(1, 2))),
        secret=draw(st.sampled_from([None, "sk-1", "sk-2"])),
    )
    text = draw(CRAFTED)
    request = ChatRequest(draw(CRAFTED), (Message("user", text),), {draw(CRAFTED): draw(CRAFTED)})
    return draw(SCOPES), account, request


def identity(one):
    scope, account, request = one
    whom = (account.provider_id, account.dialect, account.base_url, account.secret)
    return scope.name, whom, request.model, request.messages, tuple(request.parameters.items())


@settings(max_examples=10_000, deadline=None)
@given(asked(), asked())
def test_s3_two_callers_or_two_questions_never_have_one_name(one, other):
    assert (key_of(*one) == key_of(*other)) == (identity(one) == identity(other))

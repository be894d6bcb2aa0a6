"""A variant's prompts in the callers' own dialects, and nothing else touched."""

import json

import pytest

from tiebreak.errors import InvalidInput
from tiebreak.experiments.prompting import Wording
from tiebreak.gateway.fields import read_fields
from tiebreak.gateway.rewording import CONVERSATIONS

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
PICTURE = {"type": "image_url", "image_url": {"url": "https://x.example/p.png"}}


def top(**body):
    return read_fields(json.dumps({"model": "tests/a"} | body).encode()).top()


def reworded(path: str, wording: Wording, **body):
    raw = json.dumps({"model": "tests/a"} | body).encode()
    fields = read_fields(raw)
    changed = CONVERSATIONS[path].changes(fields.top(), wording)
    return json.loads(fields.rewritten(changed))


def said(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (
            CHAT,
            {"messages": said(("system", "S"), ("user", "one"), ("assistant", "A"), ("user", "two"))},
            ("two", "S"),
        ),
        (
            CHAT,
            {"messages": said(("developer", "D"), ("user", [{"type": "text", "text": "t"}, PICTURE]))},
            ("t", "D"),
        ),
        (CHAT, {"messages": said(("assistant", "A"))}, ("", "")),
        (MESSAGES, {"system": "S", "messages": said(("user", "u"))}, ("u", "S")),
        (MESSAGES, {"system": [{"type": "text", "text": "S"}], "messages": said(("user", "u"))}, ("u", "S")),
        (RESPONSES, {"instructions": "I", "input": "u"}, ("u", "I")),
        (RESPONSES, {"input": said(("user", [{"type": "input_text", "text": "u"}]))}, ("u", "")),
    ],
)
def test_the_caller_s_words_are_found(path, body, words):
    assert CONVERSATIONS[path].read(top(**body)) == words


def test_a_system_prompt_takes_the_place_of_all_the_caller_s():
    messages = said(("system", "S"), ("user", "u"), ("developer", "D"))
    changed = reworded(CHAT, Wording("ours", None), messages=messages, odd=[1])
    assert changed == {
        "model": "tests/a",
        "messages": said(("system", "ours"), ("user", "u")),
        "odd": [1],
    }


def test_the_last_user_message_gets_the_words_and_keeps_its_pictures():
    content = [{"type": "text", "text": "old"}, PICTURE, {"type": "text", "text": "more"}]
    messages = said(("user", "first"), ("user", content), ("assistant", "A"))
    changed = reworded(CHAT, Wording(None, "new"), messages=messages)
    assert changed["messages"] == said(
        ("user", "first"), ("user", [{"type": "text", "text": "new"}, PICTURE]), ("assistant", "A")
    )


def test_anthropic_and_responses_keep_the_system_s_words_apart():
    wording = Wording("ours", "new")
    assert reworded(MESSAGES, wording, system="S", messages=said(("user", "u"))) == {
        "model": "tests/a",
        "system": "ours",
        "messages": said(("user", "new")),
    }
    assert reworded(RESPONSES, wording, input="u") == {
        "model": "tests/a",
        "instructions": "ours",
        "input": "new",
    }
    listed = reworded(RESPONSES, wording, input=said(("system", "S"), ("user", "u")))
    assert listed["input"] == said(("user", "new"))


def test_no_wording_changes_nothing():
    for path in (CHAT, MESSAGES, RESPONSES):
        assert (
            CONVERSATIONS[path].changes(top(input="u", messages=said(("user", "u"))), Wording(None, None))
            == {}
        )


@pytest.mark.parametrize("messages", ["x", 7, [1], {"role": "user"}])
def test_what_is_no_conversation_is_refused(messages):
    with pytest.raises(InvalidInput, match="`messages`"):
        body = top(messages=messages) if not isinstance(messages, str) else top()
        CONVERSATIONS[CHAT].changes(body, Wording("ours", None))

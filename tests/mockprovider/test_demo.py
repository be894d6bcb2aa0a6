"""The demo's bank and models, as the package carries them."""

import pytest

from tiebreak.mockprovider import demo
from tiebreak.mockprovider.answering import reply
from tiebreak.mockprovider.config import read_questions


def test_the_bank_is_complete_and_varied():
    bank = read_questions(demo.questions_path())
    assert 60 <= len(bank.questions) <= 120
    assert {question.category for question in bank.questions} == {"arithmetic", "knowledge"}
    assert {question.difficulty for question in bank.questions} == {"easy", "medium", "hard"}
    assert all(question.expected and " " not in question.expected for question in bank.questions)


def test_careful_is_better_and_dearer_than_swift_and_slower():
    config = demo.config()
    right, took = {}, {}
    for name in ("careful", "swift"):
        replies = [(q, reply(config, name, f"{q.text}\nEnd with `A:`.", None)) for q in config.bank.questions]
        right[name] = sum(r.text.endswith(f"\nA: {q.expected}") for q, r in replies)
        took[name] = sum(r.seconds for _, r in replies)
        assert [r.question for _, r in replies] == [q.id for q in config.bank.questions]
    assert right == {"careful": 92, "swift": 72}
    assert took["careful"] > took["swift"]
    assert config.models["careful"].price.output > config.models["swift"].price.output


@pytest.mark.parametrize("name", ["careful", "swift"])
def test_the_expected_answer_is_contained_exactly_in_the_right_replies(name):
    config = demo.config()
    for question in config.bank.questions:
        text = reply(config, name, question.text, None).text
        assert (question.expected in text) == text.endswith(f"\nA: {question.expected}"), question.id

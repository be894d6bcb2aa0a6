"""Finding the question in a message."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak.mockprovider.questions import ANCHOR, Question, QuestionBank

TEXTS = st.lists(
    st.text(alphabet="abc ?", min_size=1, max_size=40).map(str.strip).filter(bool),
    min_size=1,
    max_size=8,
    unique=True,
)


def bank(*texts):
    return QuestionBank(Question(str(number), text) for number, text in enumerate(texts))


def slowly(texts, message):
    """What `find` means, said plainly: of the contained texts the longest, of those the first in the message."""
    if message.strip() in texts:
        return message.strip()
    contained = [text for text in texts if text in message]
    return min(contained, key=lambda text: (-len(text), message.index(text)), default=None)


@settings(deadline=None)
@given(
    TEXTS,
    st.lists(st.integers(0, 7), max_size=4),
    st.lists(st.text(alphabet="abc ?", max_size=20), min_size=5, max_size=5),
)
def test_the_longest_contained_question_is_found(texts, asked, between):
    message = (
        "".join(filler + texts[which % len(texts)] for filler, which in zip(between, asked, strict=False))
        + between[4]
    )
    found = bank(*texts).find(message)
    expected = slowly(texts, message)
    assert (found.text if found else None) == expected or (
        found is not None and expected is not None and len(found.text) == len(expected) < ANCHOR
    )


@settings(deadline=None)
@given(TEXTS, st.text(max_size=50), st.text(max_size=50), st.data())
def test_a_question_is_found_inside_any_prompt(texts, before, after, data):
    text = data.draw(st.sampled_from(texts))
    found = bank(*texts).find(before + text + after)
    assert found is not None
    assert len(found.text) >= len(text)


@pytest.mark.parametrize("around", ["{}", "Q: {}", "{}\nA:", "x{}y", "\n\n {} \t"])
def test_surrounding_text_does_not_matter_to_long_and_short_questions(around):
    questions = bank("Why?", "How many eggs does Janet sell each day?")
    for question in questions.questions:
        assert questions.find(around.format(question.text)) == question


def test_a_question_that_contains_another_wins():
    questions = bank("How many legs has a spider?", "How many legs has a spider? And two spiders?", "legs")
    assert questions.find("Q: How many legs has a spider? And two spiders?").id == "1"
    assert questions.find("Q: How many legs has a spider? And two?").id == "0"
    assert questions.find("Q: legs").id == "2"


def test_nothing_is_found_where_nothing_is():
    assert bank("How many legs has a spider?").find("How many legs has a beetle?") is None
    assert bank().find("") is None


@pytest.mark.parametrize(("answer", "expected"), [(None, ""), (5, "5"), (2.5, "2.5"), (" Paris ", "Paris")])
def test_an_answer_is_read_as_text(answer, expected):
    assert Question("1", "?", answer).expected == expected

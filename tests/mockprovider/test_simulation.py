"""What simulated models say, how long it takes, and that chance is the same everywhere."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mockprovider.served import BANK, small_config

from tiebreak.mockprovider import tokens
from tiebreak.mockprovider.answering import reply, times
from tiebreak.mockprovider.chance import draw, lognormal, seconds
from tiebreak.mockprovider.chance import tokens as length_of
from tiebreak.mockprovider.config import MockConfig
from tiebreak.mockprovider.description import Fixed, Length, Lognormal, Recorded, Simulated
from tiebreak.mockprovider.questions import Question, QuestionBank
from tiebreak.mockprovider.simulation import skill, wrong

MANY = QuestionBank(
    Question(str(n), f"What is {n} plus {n}, said slowly?", str(2 * n), "sums") for n in range(1000)
)


def last_line(config, name, message):
    return reply(config, name, message, None).text.splitlines()[-1]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_a_model_gets_its_share_of_questions_right(share):
    config = MockConfig({"m": Simulated(skill=share)}, bank=MANY)
    right = sum(last_line(config, "m", q.text) == f"A: {q.expected}" for q in MANY.questions)
    assert abs(right / 1000 - share) <= (0.06 if 0 < share < 1 else 0)  # four standard errors


def test_another_seed_name_or_model_seed_gets_others_right():
    def right(seed, name, model_seed):
        config = MockConfig({name: Simulated(skill=0.5, seed=model_seed)}, bank=MANY, seed=seed)
        return [last_line(config, name, q.text) == f"A: {q.expected}" for q in MANY.questions]

    outcomes = [right(0, "m", 0), right(1, "m", 0), right(0, "n", 0), right(0, "m", 1)]
    assert right(0, "m", 0) == outcomes[0]
    assert all(a != b for place, a in enumerate(outcomes) for b in outcomes[:place])


def test_category_and_difficulty_move_the_skill_within_its_bounds():
    model = Simulated(skill=0.5, category={"sums": 0.3}, difficulty={"hard": -0.4, "easy": 0.4})
    assert skill(model, Question("1", "?", "1", "sums", "hard")) == pytest.approx(0.4)
    assert skill(model, Question("1", "?", "1", "sums", "easy")) == 1.0
    assert skill(model, Question("1", "?", "1")) == 0.5
    assert skill(replace_skill(model, 0.1), Question("1", "?", "1", None, "hard")) == 0.0


def replace_skill(model, value):
    return Simulated(skill=value, category=model.category, difficulty=model.difficulty)


REPLIES = """
import json
from tests.mockprovider.served import small_config
from tiebreak.mockprovider.answering import reply
config = small_config()
print(json.dumps([list(map(str, (r.text, r.first_token, r.seconds))) for r in (
    reply(config, name, q.text, None) for name in ("oracle", "fool") for q in config.bank.questions)]))
"""


def test_another_process_says_the_same():
    config = small_config()
    here = [
        list(map(str, (r.text, r.first_token, r.seconds)))
        for r in (reply(config, name, q.text, None) for name in ("oracle", "fool") for q in BANK.questions)
    ]
    there = subprocess.run(
        [sys.executable, "-c", REPLIES], capture_output=True, check=True, timeout=60, env={"PYTHONHASHSEED": "77", "PYTHONPATH": ":".join(sys.path)}
    )  # fmt: skip
    assert json.loads(there.stdout) == here


@pytest.mark.parametrize("message", ["What do you think?", "Unanswered?"])
def test_what_the_bank_cannot_answer_is_made_up_and_says_so(message):
    config = small_config()
    said = reply(config, "oracle", message, None)
    assert "The answer is not in the question bank, so it is made up.\nA: " in said.text
    assert said == reply(config, "oracle", message, None)


@settings(deadline=None)
@given(
    st.one_of(
        st.integers(-(10**12), 10**12).map(str),
        st.integers(0, 10**12).map("{:,}".format),
        st.decimals(-9999, 9999, places=2).map(str),
        st.sampled_from(["Mercury", "carbon dioxide", "0", "-1", "1", "D"]),
    ),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_a_wrong_answer_never_holds_the_right_one(expected, chance):
    answer = wrong(Question("q", "?", expected, "knowledge"), BANK, chance)
    assert answer
    assert expected.casefold() not in answer.casefold()
    assert expected.replace(",", "") not in answer


def test_a_wrong_word_comes_from_the_same_category_where_it_can():
    word = Question("1", "?", "Mercury", "knowledge")
    assert wrong(word, BANK, 0.5) == "carbon dioxide"
    assert wrong(Question("1", "?", "Mercury", "other"), BANK, 0.1) == "carbon dioxide"
    assert wrong(word, QuestionBank([word]), 0.5) == "none of these"


def test_an_answer_is_about_as_long_as_described():
    config = MockConfig({"m": Simulated(skill=1, output_tokens=Length(200))}, bank=BANK)
    assert 200 <= tokens.count(reply(config, "m", "Hello", None).text) <= 220


def test_a_limit_cuts_simulated_answers_too():
    cut = reply(small_config(), "oracle", "Hello", 3)
    assert (len(cut.text), cut.finish_reason) == (12, "length")


@settings(deadline=None)
@given(st.text())
def test_the_token_count_is_a_quarter_of_the_characters_rounded_up(text):
    assert 4 * (tokens.count(text) - 1) < max(len(text), 1) <= 4 * max(tokens.count(text), 1)


@settings(deadline=None)
@given(st.lists(st.text() | st.integers(), max_size=4))
def test_draws_lie_strictly_between_0_and_1_and_repeat(words):
    assert 0 < draw(*words) < 1
    assert draw(*words) == draw(*words)


def test_draws_are_uniform_enough():
    drawn = sorted(draw("words", n) for n in range(2000))
    assert max(abs(value - place / 2000) for place, value in enumerate(drawn)) < 0.043  # Kolmogorov, 0.1 %


def test_quantiles_of_latency_and_length():
    assert seconds(Fixed(20.0), 0.9) == 0.02
    assert seconds(Lognormal(100.0, 0.5), 0.5) == pytest.approx(0.1)
    assert seconds(Lognormal(100.0, 0.5), 0.8413447) == pytest.approx(0.1 * 2.718281828**0.5, rel=1e-5)
    assert seconds(Lognormal(3_600_000.0, 5.0), 0.99) == 3600
    assert lognormal(7, 0, 0.01) == 7
    assert length_of(Length(100.0, 5.0), 1e-9) == 1
    assert length_of(Length(100_000.0, 5.0), 0.99) == 100_000


def test_times_of_an_answer():
    slow = Recorded(latency=Fixed(100.0))
    assert times(None, slow, ()) == (0.025, 0.1)
    assert times(20.0, slow, ()) == (0.005, 0.02)
    assert times(None, Recorded(latency=Fixed(100.0), first_token=Fixed(60.0)), ()) == (0.06, 0.1)
    assert times(None, Recorded(latency=Fixed(100.0), first_token=Fixed(600.0)), ()) == (0.1, 0.1)
    assert times(20.0, Recorded(latency=Fixed(100.0), first_token=Fixed(60.0)), ()) == (0.005, 0.02)


def test_latencies_differ_by_question_and_repeat_for_the_same_one():
    config = MockConfig({"m": Simulated(skill=1, latency=Lognormal(100.0, 0.5))}, bank=MANY)
    took = {q.id: reply(config, "m", q.text, None).seconds for q in MANY.questions[:50]}
    assert len(set(took.values())) == 50
    assert took == {q.id: reply(replace(config), "m", q.text, None).seconds for q in MANY.questions[:50]}

"""What a simulated model says: right for its share of the questions, plausibly wrong for the rest. Pure."""

import re
from decimal import Decimal

from tiebreak.mockprovider.chance import draw, tokens
from tiebreak.mockprovider.description import Simulated
from tiebreak.mockprovider.questions import Question, QuestionBank
from tiebreak.mockprovider.tokens import CHARACTERS_PER_TOKEN

_NUMBER = re.compile(r"-?\d[\d,]{0,20}(\.\d{1,10})?")

# Without digits and without names, so that a check finds its answer in the last line only.
_SENTENCES = (
    "This text is simulated.",
    "The question is read once more before anything is written down.",
    "What is given and what is asked for are kept apart.",
    "Each quantity is taken in the order in which it appears.",
    "The intermediate result is carried over to the next line.",
    "A quick estimate confirms the order of magnitude.",
    "Nothing else in the question changes the outcome.",
)


def say(model: Simulated, question: Question | None, bank: QuestionBank, chance: tuple[object, ...]) -> str:
    """The answer to a question: some sentences, and a last line `A: <answer>`; `chance` seeds every draw."""
    if question is None or not question.expected:
        conclusion = f"The answer is not in the question bank, so it is made up.\nA: {_made_up(chance)}"
    elif draw(*chance, "right") < skill(model, question):
        conclusion = f"A: {question.expected}"
    else:
        conclusion = f"A: {wrong(question, bank, draw(*chance, 'wrong'))}"
    wanted = tokens(model.output_tokens, draw(*chance, "length")) * CHARACTERS_PER_TOKEN
    return f"{_sentences(wanted - len(conclusion), draw(*chance, 'words'))}\n{conclusion}"


def skill(model: Simulated, question: Question) -> float:
    """The share of such questions that the model gets right."""
    effects = model.category.get(question.category or "", 0) + model.difficulty.get(
        question.difficulty or "", 0
    )
    return min(1.0, max(0.0, model.skill + effects))


def wrong(question: Question, bank: QuestionBank, chance: float) -> str:
    """A plausible answer that is not the expected one: a number nearby, or another question's word."""
    numeric = _NUMBER.fullmatch(question.expected)
    candidates = _near(question.expected) if numeric else _words(question, bank)
    return candidates[int(chance * len(candidates))]


def _near(expected: str) -> list[str]:
    """Numbers nearby that do not hold the expected one's digits; below zero only where the truth is."""
    value = Decimal(expected.replace(",", ""))
    near = (value + 1, value - 1, value * 2, value / 2, value + 10, value * 10)
    written = [f"{other.normalize():f}" for other in near if other >= 0 or value < 0]
    return [other for other in written if f"{value.normalize():f}" not in other]


def _words(question: Question, bank: QuestionBank) -> list[str]:
    """Other questions' words, of the same category where there are any, that do not hold the expected one."""
    others = [
        other for other in bank.questions if other.expected and _unlike(other.expected, question.expected)
    ]
    alike = [other for other in others if other.category == question.category]
    return sorted({other.expected for other in alike or others}) or ["none of these"]


def _unlike(word: str, truth: str) -> bool:
    return not _NUMBER.fullmatch(word) and truth.casefold() not in word.casefold()


def _made_up(chance: tuple[object, ...]) -> int:
    return 2 + int(draw(*chance, "made up") * 97)


def _sentences(characters: int, chance: float) -> str:
    """The label first, then sentences in turn from a drawn one, until the length is reached."""
    said, length = [_SENTENCES[0]], len(_SENTENCES[0])
    turn = 1 + int(chance * (len(_SENTENCES) - 1))
    while length < characters:
        said.append(_SENTENCES[turn])
        length += 1 + len(_SENTENCES[turn])
        turn = 1 + turn % (len(_SENTENCES) - 1)
    return " ".join(said)

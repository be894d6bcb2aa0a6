"""A model's reply to a message: what it says, how it ends and how long it takes. Pure."""

from tiebreak.mockprovider import tokens
from tiebreak.mockprovider.chance import draw, seconds
from tiebreak.mockprovider.chat import Refusal, Reply
from tiebreak.mockprovider.config import MockConfig
from tiebreak.mockprovider.description import Model, Recorded
from tiebreak.mockprovider.questions import Question
from tiebreak.mockprovider.simulation import say


def reply(config: MockConfig, name: str, message: str, limit: int | None) -> Reply:
    """The reply of a configured model, the same whenever it is asked; `limit` is the most tokens it may have.

    Refusal when a recorded model has nothing to say to this message.
    """
    model = config.models[name]
    question = config.bank.find(message)
    chance = (config.seed, model.seed, name, question.text if question else message)
    if isinstance(model, Recorded):
        text = _recall(config, model.model or name, question, message)
    else:
        text = say(model, question, config.bank, chance)
    whole = limit is None or tokens.count(text) <= limit
    first_token, total = times(config.delay_ms, model, chance)
    return Reply(
        text=text if whole or limit is None else tokens.cut(text, limit),
        finish_reason="stop" if whole else "length",
        question=question.id if question else None,
        first_token=first_token,
        seconds=total,
    )


def times(delay_ms: float | None, model: Model, chance: tuple[object, ...]) -> tuple[float, float]:
    """Seconds to the first token and to the last; a given delay is the latter, exactly, and the former a quarter."""
    if delay_ms is not None:
        return delay_ms / 4000, delay_ms / 1000
    total = seconds(model.latency, draw(*chance, "latency"))
    if model.first_token is None:
        return total / 4, total
    return min(total, seconds(model.first_token, draw(*chance, "first token"))), total


def _recall(config: MockConfig, name: str, question: Question | None, message: str) -> str:
    if question is None:
        begins = message if len(message) <= 80 else message[:79] + "…"
        raise Refusal(
            404, f"no question of the bank is contained in the message {begins!r}", code="question_not_found"
        )
    text = config.recorded.get((name, question.id))
    if text is None:
        raise Refusal(
            404, f"model {name!r} has no recorded answer to {question.id!r}", code="answer_not_found"
        )
    return text

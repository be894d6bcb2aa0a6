"""A model's reply to a message: what it says, how it ends and how long it takes. Pure."""

from dataclasses import replace

from tiebreak.mockprovider import inventing, tokens
from tiebreak.mockprovider.chance import draw, seconds
from tiebreak.mockprovider.config import MockConfig
from tiebreak.mockprovider.conversation import Asked, Finish, Refusal, Reply, Tool, Usage
from tiebreak.mockprovider.description import Model, Recorded
from tiebreak.mockprovider.fault import Fault
from tiebreak.mockprovider.questions import Question
from tiebreak.mockprovider.simulation import say

REFUSE = "[mock: refuse]"
DECLINED = "This text is simulated. The message asks the mock provider to refuse, so it does."
BEYOND_ASCII = "Größe → 大 🙂 "
_LONGEST_RESULT = 500  # characters of a tool's result that an answer repeats


def reply(config: MockConfig, name: str, message: str, limit: int | None, sample: int = 0) -> Reply:
    """The reply of a configured model, the same whenever it is asked; `limit` is the most tokens it may have.

    Each `sample` is a draw of its own, the first the one that a lone reply is. Refusal when a recorded model has
    nothing to say to this message.
    """
    model = config.models[name]
    question = config.bank.find(message)
    chance: tuple[object, ...] = (config.seed, model.seed, name, question.text if question else message)
    if sample:
        chance = (*chance, "sample", sample)
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


def plain(asked: Asked) -> bool:
    """Whether a request asks for nothing but text, so that `reply` is all of the answer."""
    if asked.tools or asked.stop or asked.results or asked.shape is not None:
        return False
    return REFUSE not in asked.question


def fitted(asked: Asked, model: Model, said: Reply) -> Reply:
    """The whole reply as the request wants it: refused, as a call of tools, as JSON, up to a stop sequence."""
    if REFUSE in asked.question:
        return replace(said, text=DECLINED, finish_reason="refusal")
    if called := _called(asked):
        answer = said.text.rpartition("A: ")[2].strip()
        calls = tuple(inventing.call(tool, answer) for tool in called)
        return replace(said, text="", finish_reason="tools", tool_calls=calls)
    text = said.text
    if asked.results and not isinstance(model, Recorded):
        text = f"The tools said: {'; '.join(result[:_LONGEST_RESULT] for result in asked.results)}\n{text}"
    if asked.shape is not None:
        text = inventing.structured(text, asked.shape)
    return _ended(asked, replace(said, text=text))


def _ended(asked: Asked, said: Reply) -> Reply:
    """Cut where a stop sequence or the limit ends it."""
    text, stop = said.text, None
    finish: Finish = said.finish_reason
    places = [(text.index(each), each) for each in asked.stop if each and each in text]
    if places:
        end, stop = min(places)
        text = text[:end]
    if asked.limit is not None and tokens.count(text) > asked.limit:
        text, stop = tokens.cut(text, asked.limit), None
        finish = "length"
    return replace(said, text=text, finish_reason=finish, stop=stop)


def _called(asked: Asked) -> list[Tool]:
    """The tools to call: those that the question names, or the one that must be; none again after their results."""
    if asked.choice == "none":
        return []
    if asked.named is not None:
        if named := [tool for tool in asked.tools if tool.name == asked.named]:
            return named
        raise Refusal(400, f"the tool choice names {asked.named!r}, which is not among the tools")
    if asked.choice == "auto" and asked.results:
        return []
    mentioned = [tool for tool in asked.tools if tool.name in asked.question]
    if not mentioned and asked.choice == "required":
        mentioned = list(asked.tools[:1])
    return mentioned if asked.parallel else mentioned[:1]


def usage(asked: int, answered: int, model: Model, samples: int = 1) -> Usage:
    """Tokens of a call, with those that the model reads from its cache and those that it thinks."""
    thought = model.reasoning_tokens * samples
    return Usage(asked, answered + thought, int(asked * model.cached_share), thought)


def lied(usage: Usage, fault: Fault | None) -> Usage | None:
    """The usage that a fault makes of the true one."""
    if fault is None or fault.body != "usage":
        return usage
    if fault.usage == "missing":
        return None
    return Usage(-7, -3) if fault.usage == "negative" else Usage(10**12, 10**12)


def foreign(replies: list[Reply], fault: Fault) -> list[Reply]:
    """The replies with characters beyond ASCII where a fault is to split some."""
    if fault.body != "split":
        return replies
    return [replace(reply, text=BEYOND_ASCII + reply.text) for reply in replies]


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

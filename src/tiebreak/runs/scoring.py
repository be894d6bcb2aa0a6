"""From a task to a request and from what came back to a row: pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from tiebreak.evaluation import checks as evaluation_checks
from tiebreak.evaluation.model import Answer, Score
from tiebreak.experiments.definition import Definition
from tiebreak.experiments.plans import PlannedVariant
from tiebreak.prompts import template
from tiebreak.providers.account import Price
from tiebreak.providers.fallback import Answered, Fallback
from tiebreak.providers.model import ChatRequest, ChatResponse, Message, Origin
from tiebreak.runs.model import Plan, Result, TaskKey

MAX_DETAIL = 500  # characters of an error's text that are kept
MAX_INTEGER = 2**31 - 1
MAX_COST_NANO = 10**15  # a million dollars for one answer: beyond it, a count of tokens is not believed
TEMPLATE_FAILURE = "template"  # stored beside the words of providers.model.Failure

ANOTHERS = frozenset({Origin.CACHE, Origin.FLIGHT})  # answers that came along with another request's

Check = tuple[str, Callable[[Answer], Score]]


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of a test by metric name. `slow` ones may take milliseconds and belong into a thread."""

    all: tuple[Check, ...]
    slow: bool

    def score(self, answer: Answer) -> str:
        """What every check says, as the row keeps it: {"<metric>": [value or null, reason or null]}."""
        scores = {name: check(answer) for name, check in self.all}
        return msgspec.json.encode({name: (s.value, s.reason) for name, s in scores.items()}).decode()


def build_checks(definition: Definition) -> Checks:
    """The checks of the definition, compiled once for a run."""
    metrics = [(metric.name, metric.check) for metric in definition.metrics if metric.check is not None]
    return Checks(
        tuple((name, evaluation_checks.build(check)) for name, check in metrics),
        any(check.kind in ("regex", "json_schema") for _, check in metrics),
    )


@dataclass(frozen=True, slots=True)
class Writer:
    """Makes the requests of one variant; its templates are compiled once for a run."""

    variant: PlannedVariant
    template: Callable[[dict[str, object]], str]
    system: Callable[[dict[str, object]], str] | None
    prices: tuple[Price | None, ...]  # of the variant's models in their order
    stream: bool

    def request(self, inputs: dict[str, object]) -> ChatRequest:
        """The request for one item.

        Raises:
            InvalidInput: the template cannot be rendered with these inputs.
        """
        user = Message("user", self.template(inputs))
        messages = (user,) if self.system is None else (Message("system", self.system(inputs)), user)
        return ChatRequest(self.variant.model, messages, self.variant.parameters, self.stream)


def build_writers(plan: Plan) -> tuple[Writer, ...]:
    """One writer for each variant of the plan, in its order."""
    return tuple(
        Writer(
            variant,
            template.compile(variant.template or ""),  # planning lets no run begin without one
            None if variant.system is None else template.compile(variant.system),
            tuple(model.price() for model in variant.models),
            plan.stream,
        )
        for variant in plan.variants
    )


def storable(text: str) -> str:
    """The text as PostgreSQL can keep it: no NUL, no half of a surrogate pair; each becomes U+FFFD."""
    if text.isascii():
        return text if "\x00" not in text else text.replace("\x00", "�")
    return text.replace("\x00", "�").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _whole(value: int | None, most: int = MAX_INTEGER) -> int | None:
    return None if value is None else min(max(value, 0), most)


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def _events(fallbacks: Sequence[Fallback], response: ChatResponse | None) -> str | None:
    """What happened on the way, as the row keeps it."""
    events = [
        {
            "event": "fallback",
            "from": fallback.source,
            "to": fallback.target,
            "failure": fallback.failure,
            "calls": fallback.calls,
        }
        for fallback in fallbacks
    ]
    if response is not None and response.origin in ANOTHERS:
        events.append({"event": "shared", "origin": response.origin})
    return msgspec.json.encode(events).decode() if events else None


def answered(key: TaskKey, answer: Answered, price: Price | None, scores: str) -> Result:
    """A task that got its answer. Cost is unknown where the price or the usage is.

    An answer that came along with another's was paid there, and took no time of its own that would say something of the
    model.
    """
    response = answer.response
    usage, paid, own = response.usage, response.paid, response.origin not in ANOTHERS
    cost = price.cost_nano(paid) if price is not None and paid is not None else None
    return Result(
        key=key,
        model=storable(response.model),
        text=storable(response.text),
        finish_reason=None if response.ending is None else storable(response.ending),
        error=None,
        error_detail=None,
        calls=response.calls,
        latency_us=_microseconds(response.latency) if own else None,
        first_token_us=_microseconds(response.first_token) if own else None,
        input_tokens=_whole(usage.input_tokens if usage else None),
        output_tokens=_whole(usage.output_tokens if usage else None),
        cost_nano=_whole(cost, MAX_COST_NANO),
        scores=scores,
        events=_events(answer.fallbacks, response),
        draw=response.draw,
    )


def failed(
    key: TaskKey,
    failure: str,
    detail: str,
    calls: int,
    scores: str,
    *,
    fallbacks: Sequence[Fallback] = (),
) -> Result:
    """A task whose call failed after its retries, or could not be made."""
    return Result(
        key=key,
        model=None,
        text=None,
        finish_reason=None,
        error=failure,
        error_detail=storable(detail)[:MAX_DETAIL],
        calls=calls,
        latency_us=None,
        first_token_us=None,
        input_tokens=None,
        output_tokens=None,
        cost_nano=None,
        scores=scores,
        events=_events(fallbacks, None),
    )


def spent(results: Sequence[Result]) -> int:
    """Nano-dollars of these results, as far as they are known."""
    return sum(result.cost_nano or 0 for result in results)

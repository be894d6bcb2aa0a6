"""Failures that would hit every call of a variant: they stop the run instead of becoming its results."""

from tiebreak.experiments.plans import PlannedVariant
from tiebreak.providers.model import Failure
from tiebreak.runs.model import Result

PATIENCE = 5  # in a row, without an answer between

_REMEDIES: dict[str, str] = {
    Failure.AUTHENTICATION: "give it a valid key with `tiebreak provider set {provider}`, then resume",
    Failure.NOT_FOUND: "`tiebreak provider models {provider}` lists what it has; make {model!r} available and resume, "
    "or start a new test",
    Failure.QUOTA: "top the account up, then resume",
    Failure.ADDRESS_REFUSED: "change its base URL or TIEBREAK_OUTBOUND, then resume",
    Failure.CONNECTION: "see that it runs and can be reached, then resume",
    Failure.CIRCUIT_OPEN: "resume when the vendor is back",
}


def hits_every_call(error: str | None) -> bool:
    """Whether a failure says something of the provider or the model, not of the one request."""
    return error in _REMEDIES


def reason(variant: PlannedVariant, result: Result) -> str:
    """Why the run stops and what to do, for one of these failures."""
    remedy = _REMEDIES[str(result.error)].format(provider=variant.provider, model=variant.model)
    return f"{result.error_detail}; {remedy}"


class Refusals:
    """Such failures, held back until an answer shows that they were about single requests, or there are too many."""

    def __init__(self) -> None:
        self._held: dict[int, list[Result]] = {}
        self._answered: set[int] = set()

    def add(self, result: Result) -> bool:
        """Hold this one back; true when the variant has used up the patience."""
        held = self._held.setdefault(result.key.variant, [])
        held.append(result)
        return len(held) >= PATIENCE

    def telling(self, variant: int) -> Result:
        """The held one of this variant that says most: what opened a breaker, before what the breaker held back."""
        held = self._held[variant]
        return next((result for result in held if result.error != Failure.CIRCUIT_OPEN), held[0])

    def answered(self, variant: int) -> list[Result]:
        """The variant got an answer: what was held of it are results after all."""
        self._answered.add(variant)
        return self._held.pop(variant, [])

    def has_answered(self, variant: int) -> bool:
        """Whether the variant got an answer since this was made."""
        return variant in self._answered

    def first(self) -> Result | None:
        """The oldest one held, or None."""
        return next((held[0] for held in self._held.values()), None)

    def take(self) -> list[Result]:
        """All that is held; nothing is afterwards."""
        held = [result for results in self._held.values() for result in results]
        self._held.clear()
        return held

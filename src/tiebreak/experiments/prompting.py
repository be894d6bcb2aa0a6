"""What a variant makes of a live caller's prompt. Pure; templates are compiled once for a test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tiebreak.experiments.plans import PlannedVariant
from tiebreak.prompts import template

Render = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Wording:
    """Texts that take the place of the caller's: all system messages, and the text of the last user message.

    None leaves what the caller sent. Everything else of the request stays, except the parameters the variant sets.
    """

    system: str | None
    user: str | None


@dataclass(frozen=True, slots=True)
class Prompting:
    """The prompts of one variant."""

    system: Render | None
    user: Render | None

    @classmethod
    def of(cls, variant: PlannedVariant) -> "Prompting":
        """Compile them; the start of the test has done so before.

        Raises:
            InvalidInput: not a template.
        """
        texts = (variant.system, variant.template)
        return cls(*(None if text is None else template.compile(text) for text in texts))

    def wording(self, inputs: Mapping[str, Any]) -> Wording:
        """The texts for one request; `inputs` as `LivePlan.inputs` gives them.

        Raises:
            InvalidInput: what the caller sent makes a template fail.
        """
        return Wording(
            None if self.system is None else self.system(inputs),
            None if self.user is None else self.user(inputs),
        )

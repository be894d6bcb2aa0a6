"""Variants with every reference resolved: what runs and live traffic go by from their start on."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from tiebreak.errors import InvalidInput
from tiebreak.experiments.definition import Definition
from tiebreak.providers.account import Price

# What a live prompt always has: the text of the caller's last user message, and of the caller's system messages.
INPUT: Final = "input"
SYSTEM: Final = "system"
OFFERED: Final = frozenset({INPUT, SYSTEM})


class PlannedModel(BaseModel):
    """A provider's model as it was when the run, or the live test, began."""

    model_config = ConfigDict(frozen=True)

    provider_id: UUID
    provider: str
    model: str
    # US dollars per million tokens as the run began; None when the model has no known price.
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    cached_input_price: Decimal | None = None

    def price(self) -> Price | None:
        """The price the run began with."""
        if self.input_price is None or self.output_price is None:
            return None
        return Price(self.input_price, self.output_price, "list", self.cached_input_price)


class PlannedVariant(PlannedModel):
    """A variant with every reference resolved then."""

    key: str
    system: str | None
    template: str | None  # None: a live caller's messages go as they are; a run has one always
    parameters: dict[str, Any]
    fallback: list[PlannedModel] = []

    @property
    def models(self) -> list[PlannedModel]:
        """All it may ask, in this order."""
        return [self, *self.fallback]


class LivePlan(BaseModel):
    """Frozen when a test is started live: later edits of prompts or providers' names do not change what is compared."""

    model_config = ConfigDict(frozen=True)

    definition: Definition
    variants: tuple[PlannedVariant, ...]  # the control first
    variables: tuple[str, ...]  # what every request has to bring, whichever variant it gets; sorted

    def inputs(self, *, input: str, system: str, variables: Mapping[str, Any]) -> dict[str, Any]:  # noqa: A002  the template's word
        """What the prompts of one request may use; asked before the assignment, so that no variant refuses more.

        Raises:
            InvalidInput: a variable is missing.
        """
        missing = [name for name in self.variables if name not in variables]
        if missing:
            raise InvalidInput(
                f"the prompts of this test use {', '.join(map(repr, missing))}; send "
                f'"variables": {{"{missing[0]}": …}} with the request'
            )
        return {**variables, INPUT: input, SYSTEM: system}

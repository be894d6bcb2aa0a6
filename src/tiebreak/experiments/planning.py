"""From a definition to variants that can be asked: every reference resolved and checked before anything is paid for."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.errors import Fault, InvalidInput, NotFound
from tiebreak.experiments.definition import Definition, Variant
from tiebreak.experiments.plans import OFFERED, LivePlan, PlannedModel, PlannedVariant
from tiebreak.prompts import service as prompts
from tiebreak.prompts import template
from tiebreak.providers import service as providers
from tiebreak.providers.account import Provider
from tiebreak.providers.adapters.parameters import RESERVED
from tiebreak.providers.dialects import untranslatable
from tiebreak.providers.model import ChatRequest, Message


async def resolve_variants(
    tx: AsyncConnection,
    definition: Definition,
    at: datetime,
    require: Callable[[Variant, PlannedVariant], None] | None = None,
) -> tuple[list[PlannedVariant], list[Fault]]:
    """The variants that resolve as things are now, at the prices of `at`, and a fault for each that does not.

    `require` raises InvalidInput for what the use at hand needs beyond that.
    """
    planned: list[PlannedVariant] = []
    faults: list[Fault] = []
    for place, variant in enumerate(definition.variants):
        try:
            one = await _plan(tx, variant, at)
            if require is not None:
                require(variant, one)
            planned.append(one)
        except (InvalidInput, NotFound) as exc:
            fault = exc.faults[0] if exc.faults else Fault("", exc.detail)
            pointer = f"/variants/{place}{fault.pointer}"
            faults.append(Fault(pointer, f"variant {variant.key!r}: {fault.message}"))
    return planned, faults


async def resolve_live(tx: AsyncConnection, definition: Definition, at: datetime) -> LivePlan:
    """The plan of live traffic.

    Raises:
        InvalidInput: something it refers to is missing or does not fit; `faults` names every one.
    """
    variants, faults = await resolve_variants(tx, definition, at)
    if faults:
        raise InvalidInput("; ".join(fault.message for fault in faults[:5]), faults=faults)
    needed = frozenset[str]().union(*map(variables, variants))
    return LivePlan(
        definition=definition, variants=tuple(variants), variables=tuple(sorted(needed - OFFERED))
    )


def variables(planned: PlannedVariant) -> frozenset[str]:
    """What the prompts of a variant cannot do without."""
    return template.variables(planned.template or "") | template.variables(planned.system or "")


async def _plan(tx: AsyncConnection, variant: Variant, at: datetime) -> PlannedVariant:
    for parameter in variant.parameters:
        if parameter in RESERVED:
            message = f"parameter {parameter!r} cannot be set: {RESERVED[parameter]}"
            raise InvalidInput(message, faults=[Fault(f"/parameters/{parameter}", message)])
    system, text = await _prompt(tx, variant)
    planned = await _plan_model(tx, variant.model, "/model", variant, system, at=at)
    fallback = [
        await _plan_model(tx, named, f"/fallback/{place}", variant, system, at=at)
        for place, named in enumerate(variant.fallback)
    ]
    return PlannedVariant(
        **planned.model_dump(),
        key=variant.key,
        system=system,
        template=text,
        parameters=variant.parameters,
        fallback=fallback,
    )


async def _plan_model(
    tx: AsyncConnection, named: str, pointer: str, variant: Variant, system: str | None, *, at: datetime
) -> PlannedModel:
    name, _, model = named.partition("/")
    try:
        provider = await providers.by_name(tx, name)
    except NotFound as exc:
        raise InvalidInput(exc.detail, faults=[Fault(pointer, exc.detail)]) from exc
    _require_words(provider, model, variant, system)
    price = await providers.price_at(tx, provider, model, at)
    return PlannedModel(
        provider_id=provider.id,
        provider=name,
        model=model,
        input_price=price.input if price else None,
        output_price=price.output if price else None,
        cached_input_price=price.cached_input if price else None,
    )


def _require_words(provider: Provider, model: str, variant: Variant, system: str | None) -> None:
    """The parameters must have words in the provider's dialect."""
    user = Message("user", "?")
    messages = (user,) if system is None else (Message("system", "?"), user)
    why = untranslatable(
        provider.dialect, provider.base_url, ChatRequest(model, messages, variant.parameters)
    )
    if why is not None:
        raise InvalidInput(why, faults=[Fault("/parameters", why)])


async def _prompt(tx: AsyncConnection, variant: Variant) -> tuple[str | None, str | None]:
    if variant.prompt is None:
        return variant.system, variant.template
    try:
        stored = await prompts.resolve(tx, variant.prompt)
    except NotFound as exc:
        raise InvalidInput(exc.detail, faults=[Fault("/prompt", exc.detail)]) from exc
    return stored.system, stored.template

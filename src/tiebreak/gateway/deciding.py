"""From a request to who is asked what: a test's variant for its unit, or a model by name. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from tiebreak.auth.model import Principal
from tiebreak.errors import InvalidInput, Refused
from tiebreak.experiments.assignment import Assignment, normalised
from tiebreak.experiments.prompting import Wording
from tiebreak.gateway.fields import Fields, read_fields
from tiebreak.gateway.identify import Asked, unit_of
from tiebreak.gateway.rewording import CONVERSATIONS
from tiebreak.gateway.snapshot import TESTS, ServedTest, ServedVariant, Snapshot
from tiebreak.observations.model import Exposure, unit_key
from tiebreak.observations.policy import BodyPolicy
from tiebreak.providers.account import Price
from tiebreak.providers.fallback import Target
from tiebreak.providers.sharing import Scope

VARIABLES: Final = "variables"
NO_WORDING: Final = Wording(None, None)

# How much is kept, from least to most; a caller may ask for less than the test records, never for more.
_ORDER: Final = (BodyPolicy.NONE, BodyPolicy.METADATA, BodyPolicy.FULL)


@dataclass(frozen=True, slots=True)
class Decision:
    """Who is asked, in order, and with which changes to the caller's body; `prices` stand beside `targets`, None where
    only the price list may know. `reason` is the assignment's word; a request that names a model has none."""

    fields: Fields
    targets: Sequence[Target]
    prices: Sequence[Price | None]
    scope: Scope
    record: BodyPolicy
    slug: str | None = None
    variant: ServedVariant | None = None
    exposure: Exposure | None = None
    wording: Wording = NO_WORDING
    session: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the variant sets."""
        return {} if self.variant is None else self.variant.plan.parameters


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, under which request."""

    principal: Principal
    request_id: UUID
    asked: Asked


def decide(snapshot: Snapshot, path: str, fields: Fields, caller: Caller, now: datetime) -> Decision:
    """Who answers this request.

    Raises:
        NotFound: there is no such test, provider or variant.
        InvalidInput: the model or the unit cannot be read, or the request lacks what the test's prompts use.
        Refused: a variant is asked for without the right to.
        Misconfigured: a provider it needs cannot be used.
    """
    name, slash, rest = fields.model.partition("/")
    if not slash or not rest:
        raise InvalidInput(
            f"`model` is {fields.model!r}; name a test as `tests/<slug>` or a model as `<provider>/<model>`"
        )
    if name == TESTS:
        return _through_test(snapshot.test(rest), path, fields, caller)
    account = snapshot.account(name)
    return Decision(
        fields=fields,
        targets=(Target(account, rest),),
        prices=(snapshot.own_price(account, rest, now),),
        scope=Scope.direct(str(caller.principal.key_id)),
        record=_recorded(BodyPolicy.METADATA, caller.asked),
        session=caller.asked.session or fields.session,
        tags=caller.asked.tags,
    )


def _recorded(most: BodyPolicy, asked: Asked) -> BodyPolicy:
    wished = most if asked.log is None else BodyPolicy(asked.log)
    return min(most, wished, key=_ORDER.index)


def _through_test(served: ServedTest, path: str, fields: Fields, caller: Caller) -> Decision:
    variables, fields = _take_variables(fields)
    inputs = None
    if path in CONVERSATIONS and any(_prompted(variant) for variant in served.variants.values()):
        user, system = CONVERSATIONS[path].read(fields.top())
        inputs = served.test.plan.inputs(input=user, system=system, variables=variables)
    unit = normalised(unit_of(caller.asked, fields, str(caller.request_id)).text)
    assignment = _assigned(served, unit, caller)
    variant = served.variants[(assignment and assignment.variant) or served.test.outside]
    test_id = served.test.id.bytes
    scope = Scope.own(f"test:{served.test.id}")
    if served.shares_responses:
        scope = Scope.shared(str(served.test.id), str(served.test.phase.number), variant.plan.key)
    return Decision(
        fields=fields,
        targets=variant.targets,
        prices=variant.prices,
        scope=scope,
        record=_recorded(served.record, caller.asked),
        slug=served.test.slug,
        variant=variant,
        exposure=Exposure(
            test_id=test_id,
            phase=served.test.phase.number if assignment is None else assignment.phase,
            variant=variant.place,
            unit_key=unit_key(test_id, unit),
            unit=unit,
            reason="not_running" if assignment is None else assignment.reason.value,
            probability=0.0 if assignment is None else assignment.probability or 0.0,
            config_version=served.test.revision if assignment is None else assignment.config_version,
            carried_over=assignment is not None and assignment.carried_over,
        ),
        wording=NO_WORDING if inputs is None else variant.prompting.wording(inputs),
        session=caller.asked.session or fields.session,
        tags=caller.asked.tags,
    )


def _prompted(variant: ServedVariant) -> bool:
    return variant.prompting.system is not None or variant.prompting.user is not None


def _take_variables(fields: Fields) -> tuple[Mapping[str, Any], Fields]:
    """What the caller gives the prompts; no vendor knows the field."""
    raw = fields.top().get(VARIABLES)
    if raw is None:
        return {}, fields
    try:
        variables = msgspec.json.decode(raw, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise InvalidInput(f'`{VARIABLES}` is no object; send {{"{VARIABLES}": {{"name": value}}}}') from None
    return variables, read_fields(fields.rewritten({VARIABLES: msgspec.UNSET}))


def _assigned(served: ServedTest, unit: str, caller: Caller) -> Assignment | None:
    """None while the test assigns nobody."""
    forced = caller.asked.variant
    if forced is not None and not caller.principal.may("manage"):
        raise Refused(
            f"x-tiebreak-variant is {forced!r}, and a variant is chosen only by a key with the scope `manage`; "
            "leave the header out"
        )
    if served.assigner is None:
        return None
    return served.assigner.assign(unit, force=forced, exclude=caller.asked.exclude)

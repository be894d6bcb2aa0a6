"""Everything a request is decided by, in memory: accounts, live tests with their assigners, prices. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from tiebreak.errors import Misconfigured, NotFound
from tiebreak.experiments.assignment import Assigner
from tiebreak.experiments.live_test import LiveTest
from tiebreak.experiments.plans import PlannedModel, PlannedVariant
from tiebreak.experiments.prompting import Prompting
from tiebreak.gateway.material import Material
from tiebreak.observations.policy import BodyPolicy
from tiebreak.providers import prices, service
from tiebreak.providers.account import Account, DatedPrice, Price
from tiebreak.providers.fallback import Target
from tiebreak.providers.secrets import Keyring

TESTS = "tests"  # the name before the slash of a model that is a test

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServedVariant:
    """A variant ready to be asked; `place` is its place in the definition. `targets` and `prices` are in the order in
    which its models are asked."""

    place: int
    plan: PlannedVariant
    prompting: Prompting
    targets: tuple[Target, ...]
    prices: tuple[Price | None, ...]


@dataclass(frozen=True, slots=True)
class ServedTest:
    """A live test ready to be asked."""

    test: LiveTest
    assigner: Assigner | None
    variants: Mapping[str, ServedVariant]
    record: BodyPolicy
    shares_responses: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is served. `broken` says of an account or a test that cannot be used why, in the words for its caller."""

    accounts: Mapping[str, Account] = field(default_factory=dict)
    tests: Mapping[str, ServedTest] = field(default_factory=dict)
    own_prices: Mapping[tuple[UUID, str], Sequence[DatedPrice]] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)

    def account(self, name: str) -> Account:
        """The account of this name.

        Raises:
            NotFound: there is none.
            Misconfigured: its secret does not open.
        """
        found = self.accounts.get(name)
        if found is None:
            if (why := self.broken.get(name)) is not None:
                raise Misconfigured(why)
            raise NotFound(
                f"no provider {name!r}; `GET /v1/models` lists what may be asked, "
                "and `tiebreak provider list` the providers"
            )
        return found

    def test(self, slug: str) -> ServedTest:
        """The live test of this slug.

        Raises:
            NotFound: there is none, or it takes no live traffic.
            Misconfigured: a provider that it needs cannot be used.
        """
        found = self.tests.get(slug)
        if found is None:
            if (why := self.broken.get(f"{TESTS}/{slug}")) is not None:
                raise Misconfigured(why)
            raise NotFound(
                f"no test {slug!r} takes live traffic; `tiebreak test start-live {slug}` starts one that is a draft"
            )
        return found

    def own_price(self, account: Account, model: str, at: datetime) -> Price | None:
        """The user's own price of a model at a moment."""
        dated = prices.in_force(self.own_prices.get((account.provider_id, model), ()), at)
        return None if dated is None else dated.price

    def names(self) -> list[str]:
        """What `model` may be, as far as it is known: every test."""
        return [f"{TESTS}/{slug}" for slug in self.tests]


def build(material: Material, keyring: Keyring) -> Snapshot:
    """The snapshot of what was read. What cannot be used is left out, and why is kept for whoever asks for it."""
    accounts: dict[str, Account] = {}
    broken: dict[str, str] = {}
    for stored in material.providers:
        try:
            accounts[stored.provider.name] = service.unsealed(stored, keyring)
        except Misconfigured as exc:
            broken[stored.provider.name] = exc.detail
    by_id = {account.provider_id: account for account in accounts.values()}
    tests = {}
    for test in material.live_tests():
        try:
            tests[test.slug] = _served(test, by_id)
        except Misconfigured as exc:
            broken[f"{TESTS}/{test.slug}"] = exc.detail
    own = {(priced.provider_id, priced.model): priced.prices for priced in material.prices}
    return Snapshot(accounts, tests, own, broken)


def _served(test: LiveTest, accounts: Mapping[UUID, Account]) -> ServedTest:
    definition: Any = test.plan.definition
    return ServedTest(
        test=test,
        assigner=test.assigner(),
        variants={
            variant.key: ServedVariant(
                place=place,
                plan=variant,
                prompting=Prompting.of(variant),
                targets=tuple(_target(test, model, accounts) for model in variant.models),
                prices=tuple(model.price() for model in variant.models),
            )
            for place, variant in enumerate(test.plan.variants)
        },
        record=BodyPolicy(definition.record),
        shares_responses=definition.share_responses,
    )


def _target(test: LiveTest, model: PlannedModel, accounts: Mapping[UUID, Account]) -> Target:
    account = accounts.get(model.provider_id)
    if account is None:
        raise Misconfigured(
            f"test {test.slug!r} needs provider {model.provider!r}, which was removed or whose secret cannot be opened; "
            "`tiebreak provider list` shows what there is"
        )
    return Target(account, model.model)

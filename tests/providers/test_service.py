"""Use cases of providers over a real database: secrets, keys that do not fit, prices."""

import base64
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from tests.upstream import SECRET

from tiebreak.errors import Conflict, InvalidInput, Misconfigured, NotFound
from tiebreak.providers import service
from tiebreak.providers.account import BatchConfig, ExternalServiceConfig, Price
from tiebreak.providers.secrets import Keyring
from tiebreak.providers.service import Changes, NewProvider
from tiebreak.providers.tables import providers

NEW = NewProvider(name="acme", base_url="http://127.0.0.1:1", secret=SECRET)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
OTHER_KEY = base64.b64encode(bytes(32)).decode()


async def create(tx, keyring, **changes):
    values = {"name": NEW.name, "base_url": NEW.base_url, "secret": NEW.secret} | changes
    return await service.create(tx, NewProvider(**values), keyring, "loopback")


async def test_an_account_has_the_secret_that_was_stored(database, keyring):
    async with database.transaction() as tx:
        made = await create(tx, keyring)
        account = await service.account(tx, made.id, keyring)
        row = (await tx.execute(select(providers))).one()
    assert (account.secret, account.name, account.concurrency) == (SECRET, "acme", 64)
    assert SECRET.encode() not in row.secret
    assert SECRET not in repr(row)
    assert row.secret_key_id == keyring.key_id


async def test_an_account_without_a_secret_needs_no_key(database):
    keyring = Keyring.open(None, None)
    async with database.transaction() as tx:
        made = await create(tx, keyring, secret=None)
        assert (await service.account(tx, made.id, keyring)).secret is None


async def test_a_secret_without_a_key_to_keep_it_is_refused(database):
    async with database.transaction() as tx:
        with pytest.raises(Misconfigured, match="TIEBREAK_SECRET_KEY"):
            await create(tx, Keyring.open(None, None))


async def test_a_new_secret_replaces_the_old(database, keyring):
    async with database.transaction() as tx:
        made = await create(tx, keyring)
        await service.change(tx, "acme", Changes(secret="sk-new"), keyring, "loopback")
        assert (await service.account(tx, made.id, keyring)).secret == "sk-new"
        await service.change(tx, "acme", Changes(forget_secret=True), keyring, "loopback")
        assert (await service.account(tx, made.id, keyring)).secret is None


async def test_every_value_may_change(database, keyring):
    wanted = ExternalServiceConfig("acme", 7.5, 0, BatchConfig(32, 5), False, 60)
    changes = Changes(
        base_url="http://127.0.0.1:1/v2",
        concurrency=9,
        service={
            "timeout_seconds": 7.5,
            "max_retries": 0,
            "batch_config": {"max_batch_size": 32, "batch_timeout_ms": 5},
            "cache_enabled": False,
            "cache_ttl_seconds": 60,
        },
    )
    async with database.transaction() as tx:
        made = await create(tx, keyring)
        changed = await service.change(tx, "acme", changes, keyring, "loopback")
        account = await service.account(tx, made.id, keyring)
    assert made.service == ExternalServiceConfig("acme")
    assert (changed.base_url, changed.concurrency, changed.service) == ("http://127.0.0.1:1/v2", 9, wanted)
    assert (account.service, account.concurrency, account.route) == (wanted, 9, None)


async def test_what_a_new_account_does_not_say_is_as_in_the_defaults(database, keyring):
    defaults = ExternalServiceConfig("", 30.0, 5, BatchConfig(64, 20), False, 900)
    said = NewProvider("acme", "http://127.0.0.1:1", service={"batch_config": {"batch_timeout_ms": 7}})
    async with database.transaction() as tx:
        made = await service.create(tx, said, keyring, "loopback", defaults)
    assert made.service == ExternalServiceConfig("acme", 30.0, 5, BatchConfig(64, 7), False, 900)


async def test_a_part_of_the_batch_configuration_may_change(database, keyring):
    async with database.transaction() as tx:
        await create(tx, keyring)
        changes = Changes(service={"batch_config": {"max_batch_size": 3}})
        changed = await service.change(tx, "acme", changes, keyring, "loopback")
    assert changed.service.batch_config == BatchConfig(3, 100)


async def test_a_change_to_a_forbidden_address_is_refused(database, keyring):
    async with database.transaction() as tx:
        await create(tx, keyring)
        with pytest.raises(InvalidInput, match=r"169\.254\.169\.254"):
            await service.change(tx, "acme", Changes(base_url="http://169.254.169.254"), keyring, "private")


async def test_a_wrong_key_is_named_at_start_and_stops_only_what_needs_it(database, keyring):
    other = Keyring.open(None, OTHER_KEY)
    async with database.transaction() as tx:
        locked = await create(tx, keyring)
        opened = await create(tx, other, name="fine")
        plain = await create(tx, other, name="plain", secret=None)
        assert await service.unreadable(tx, other) == ["acme"]
        assert await service.unreadable(tx, keyring) == ["fine"]
        assert (await service.account(tx, opened.id, other)).secret == SECRET
        assert (await service.account(tx, plain.id, other)).secret is None
        with pytest.raises(Misconfigured, match=r"'acme'.*sealed with, or enter") as caught:
            await service.account(tx, locked.id, other)
        assert "tiebreak provider set acme" in caught.value.detail
        assert SECRET not in caught.value.detail
        # Everything that needs no secret goes on.
        assert (await service.by_name(tx, "acme")).has_secret is True
        repaired = await service.change(tx, "acme", Changes(secret="sk-again"), other, "loopback")
        assert (await service.account(tx, repaired.id, other)).secret == "sk-again"
        assert await service.unreadable(tx, other) == []


async def test_a_lost_key_is_named_at_start(database, keyring):
    async with database.transaction() as tx:
        await create(tx, keyring)
        assert await service.unreadable(tx, Keyring.open(None, None)) == ["acme"]


async def test_a_broken_key_file_is_an_error_at_start_not_a_lost_secret(database, tmp_path):
    keyring = Keyring.open(tmp_path, None)
    late = Keyring.open(tmp_path, None)
    async with database.transaction() as tx:
        await create(tx, keyring)
        (tmp_path / "secret.key").chmod(0o644)
        with pytest.raises(Misconfigured, match="chmod 600"):
            await service.unreadable(tx, late)


async def test_a_secret_moved_to_another_provider_does_not_open(database, keyring):
    async with database.transaction() as tx:
        await create(tx, keyring)
        thief = await create(tx, keyring, name="thief", base_url="https://evil.example", secret="sk-x")
        stolen = select(providers.c.secret).where(providers.c.name == "acme").scalar_subquery()
        await tx.execute(update(providers).where(providers.c.id == thief.id).values(secret=stolen))
        with pytest.raises(Misconfigured, match=r"'thief'.*another row"):
            await service.account(tx, thief.id, keyring)
        assert await service.unreadable(tx, keyring) == ["thief"]


async def test_a_name_is_taken_once(database, keyring):
    async with database.transaction() as tx:
        await create(tx, keyring)
        with pytest.raises(Conflict, match="'acme'"):
            await create(tx, keyring)


async def test_what_is_not_there_is_named(database, keyring):
    async with database.transaction() as tx:
        with pytest.raises(NotFound, match="'nobody'"):
            await service.by_name(tx, "nobody")
        with pytest.raises(NotFound, match="was removed"):
            await service.account(tx, uuid4(), keyring)
        with pytest.raises(NotFound, match="'nobody'"):
            await service.change(tx, "nobody", Changes(), keyring, "loopback")


async def test_a_price_is_the_users_before_the_lists(database, keyring):
    async with database.transaction() as tx:
        provider = await create(tx, keyring)
        listed = await service.price_at(tx, provider, "gpt-4o", NOW)
        await service.put_model(tx, provider, "gpt-4o", input_price=1.0, output_price=0.5)
        own = await service.price_at(tx, provider, "gpt-4o", NOW)
        unknown = await service.price_at(tx, provider, "my-own-model", NOW)
    assert listed == Price(Decimal("2.5"), Decimal(10), "list", Decimal("1.25"))
    assert own == Price(Decimal(1), Decimal("0.5"), "override")
    assert unknown is None


async def test_a_dated_price_counts_from_its_moment_until_the_next(database, keyring):
    async with database.transaction() as tx:
        provider = await create(tx, keyring)
        for price, cached, since in ((3.0, None, NOW), (2.0, 0.5, NOW - DAY), (4.0, None, NOW + DAY)):
            await service.put_model(
                tx,
                provider,
                "small",
                input_price=price,
                output_price=price,
                cached_input_price=cached,
                valid_from=since,
            )
        seen = [
            await service.price_at(tx, provider, "small", NOW + offset)
            for offset in (-DAY - TICK, -DAY, -TICK, 0 * DAY, DAY)
        ]
        (shown,) = await service.list_models(tx, provider, 10, None, NOW)
    assert [price and (price.input, price.cached_input) for price in seen] == [
        None,
        (2, Decimal("0.5")),
        (2, Decimal("0.5")),
        (3, None),
        (4, None),
    ]
    assert shown.valid_from == NOW
    assert [dated.valid_from for dated in shown.own] == [NOW - DAY, NOW, NOW + DAY]


async def test_the_price_without_a_date_has_counted_since_ever(database, keyring):
    async with database.transaction() as tx:
        provider = await create(tx, keyring)
        await service.put_model(tx, provider, "small", input_price=1.0, output_price=1.0)
        await service.put_model(tx, provider, "small", input_price=2.0, output_price=2.0, valid_from=NOW)
        long_ago = await service.get_model(tx, provider, "small", NOW - 10_000 * DAY)
        now = await service.get_model(tx, provider, "small", NOW)
    assert (long_ago.price, long_ago.valid_from) == (Price(Decimal(1), Decimal(1), "override"), None)
    assert (now.price, now.valid_from) == (Price(Decimal(2), Decimal(2), "override"), NOW)


async def test_a_price_of_the_same_date_replaces_the_other(database, keyring):
    async with database.transaction() as tx:
        provider = await create(tx, keyring)
        for price in (1.0, 2.0):
            await service.put_model(
                tx, provider, "small", input_price=price, output_price=price, valid_from=NOW
            )
        found = await service.get_model(tx, provider, "small", NOW)
    assert [dated.price.input for dated in found.own] == [Decimal(2)]


async def test_one_date_may_be_forgotten_or_all(database, keyring):
    async with database.transaction() as tx:
        provider = await create(tx, keyring)
        for since in (None, NOW):
            await service.put_model(
                tx, provider, "small", input_price=1.0, output_price=1.0, valid_from=since
            )
        await service.delete_model(tx, provider, "small", NOW)
        left = await service.get_model(tx, provider, "small", NOW)
        with pytest.raises(
            NotFound, match=r"no price of model 'small' counts from 2026-11-01.*provider models acme"
        ):
            await service.delete_model(tx, provider, "small", NOW)
        await service.delete_model(tx, provider, "small")
        gone = await service.get_model(tx, provider, "small", NOW)
    assert [dated.valid_from for dated in left.own] == [None]
    assert (gone.price, gone.own) == (None, ())


async def test_a_model_has_so_many_dates_and_no_more(database, keyring):
    async with database.transaction() as tx:
        provider = await create(tx, keyring)

        async def put(day: int) -> None:
            await service.put_model(
                tx, provider, "small", input_price=1.0, output_price=1.0, valid_from=NOW + day * DAY
            )

        for day in range(service.MOST_DATES):
            await put(day)
        await put(0)
        with pytest.raises(InvalidInput, match="has 200 prices already") as caught:
            await put(service.MOST_DATES)
    assert caught.value.faults[0].pointer == "/valid_from"


async def test_removing_a_provider_removes_its_models(database, keyring):
    async with database.transaction() as tx:
        provider = await create(tx, keyring)
        await service.put_model(tx, provider, "small", input_price=1.0, output_price=1.0)
        await service.delete(tx, "acme")
        again = await create(tx, keyring)
        assert await service.list_models(tx, again, 10, None, NOW) == []
        with pytest.raises(NotFound, match="'small'"):
            await service.delete_model(tx, again, "small")


def test_what_carries_a_secret_is_shown_without_it():
    assert SECRET not in f"{NEW!r} {Changes(secret=SECRET, route={'proxy': SECRET})!r}"

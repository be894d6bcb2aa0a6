"""Use cases of providers over a real database: secrets, keys that do not fit, prices."""

import base64
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from tests.upstream import SECRET

from tiebreak.errors import Conflict, InvalidInput, Misconfigured, NotFound
from tiebreak.providers import service
from tiebreak.providers.model import Price
from tiebreak.providers.secrets import Keyring
from tiebreak.providers.service import Changes, NewProvider
from tiebreak.providers.tables import providers

NEW = NewProvider(name="acme", base_url="http://127.0.0.1:1", secret=SECRET)
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
    changes = Changes(base_url="http://127.0.0.1:1/v2", concurrency=9, timeout_seconds=7.5, max_retries=0)
    async with database.transaction() as tx:
        await create(tx, keyring)
        changed = await service.change(tx, "acme", changes, keyring, "loopback")
    assert (changed.base_url, changed.concurrency) == ("http://127.0.0.1:1/v2", 9)
    assert (changed.service.timeout_seconds, changed.service.max_retries) == (7.5, 0)


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
        listed = await service.price(tx, provider, "gpt-4o")
        await service.put_model(tx, provider, "gpt-4o", input_price=1.0, output_price=0.5)
        own = await service.price(tx, provider, "gpt-4o")
        unknown = await service.price(tx, provider, "my-own-model")
    assert listed == Price(Decimal("2.5"), Decimal(10), "list")
    assert own == Price(Decimal(1), Decimal("0.5"), "override")
    assert unknown is None


async def test_removing_a_provider_removes_its_models(database, keyring):
    async with database.transaction() as tx:
        provider = await create(tx, keyring)
        await service.put_model(tx, provider, "small", input_price=1.0, output_price=1.0)
        await service.delete(tx, "acme")
        again = await create(tx, keyring)
        assert await service.list_models(tx, again, 10, None) == []
        with pytest.raises(NotFound, match="'small'"):
            await service.delete_model(tx, again, "small")


def test_what_carries_a_secret_is_shown_without_it():
    assert SECRET not in f"{NEW!r} {Changes(secret=SECRET)!r}"

"""What the gateway answers from, as it is read from the database and kept in a file for the time that is away.

Secrets are in it as the database has them: sealed. Whoever has the file and not the key has no secret.
"""

from pathlib import Path
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.experiments import live
from tiebreak.experiments.live_test import LiveTest
from tiebreak.infrastructure.private_file import replace
from tiebreak.providers import store as providers
from tiebreak.providers.account import DatedPrice
from tiebreak.providers.store import Stored

FILE = "gateway.snapshot"


class OwnPrices(msgspec.Struct, frozen=True):
    """The user's prices of one model, by date."""

    provider_id: UUID
    model: str
    prices: tuple[DatedPrice, ...]


class Material(msgspec.Struct, frozen=True):
    """Accounts, live tests (as JSON) and own prices, from one reading."""

    providers: tuple[Stored, ...]
    tests: tuple[str, ...]
    prices: tuple[OwnPrices, ...]

    def live_tests(self) -> list[LiveTest]:
        """The live tests."""
        return [LiveTest.model_validate_json(text) for text in self.tests]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Material)


async def read(tx: AsyncConnection) -> Material:
    """All of it, as the database has it now."""
    return Material(
        providers=tuple(await providers.list_every(tx)),
        tests=tuple(test.model_dump_json() for test in await live.snapshot(tx)),
        prices=tuple(OwnPrices(*own) for own in await providers.list_own_prices(tx)),
    )


def save(material: Material, home: Path) -> None:
    """Write the file, for its owner only and whole or not at all. Blocks.

    Raises:
        OSError: the folder does not take it.
    """
    replace(home / FILE, _encoder.encode(material))


def load(home: Path) -> Material | None:
    """The file's content, None when there is none that can be read. Blocks."""
    try:
        return _decoder.decode((home / FILE).read_bytes())
    except (OSError, msgspec.DecodeError, ValueError):
        return None

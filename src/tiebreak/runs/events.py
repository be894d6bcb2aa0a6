"""Progress of a run as server-sent events. Between two looks a stream holds nothing but itself."""

from collections.abc import AsyncGenerator
from typing import Final
from uuid import UUID

from tiebreak.clock import Clock
from tiebreak.errors import NotFound, Unavailable
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.runs import service
from tiebreak.runs.model import Run
from tiebreak.runs.schemas import RunDocument
from tiebreak.runs.store import OPEN

PERIOD: Final = 0.5  # seconds between two looks
QUIET: Final = 15.0  # seconds without a change after which a comment keeps proxies and clients from giving up
MOST_STREAMS: Final = 100

_ALIVE: Final = b": nothing new\n\n"
_HEAD: Final = b"retry: 2000\n\n"


def event(number: int, name: str, data: str) -> bytes:
    """One event; `data` is one line of JSON."""
    return f"id: {number}\nevent: {name}\ndata: {data}\n\n".encode()


def _visible(run: Run) -> tuple[object, ...]:
    """What makes a new event: a change of the run, not the mere passing of time."""
    limits = (run.concurrency, run.max_cost_nano, run.max_requests, run.max_seconds)
    return (run.state, run.reason, run.done, run.failed, run.calls, run.cost_nano, *limits)


class ProgressStreams:
    """The open streams of this process: a bounded number of them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.open = 0

    def require_room(self) -> None:
        """Pass when one more stream may be opened.

        Raises:
            Unavailable: too many are open.
        """
        if self.open >= MOST_STREAMS:
            raise Unavailable(
                f"{MOST_STREAMS} progress streams are open already; close one, or ask for the run instead",
                retry_after=5.0,
            )

    async def follow(self, run_id: UUID) -> AsyncGenerator[bytes]:
        """`progress` on every change, twice a second at most; `end` when the run has ended, with its last state.

        When the database goes away the stream stops; clients come back by themselves and get the present state.
        """
        self.open += 1
        try:
            yield _HEAD
            async for piece in self._pieces(run_id):
                yield piece
        except (NotFound, Unavailable):
            return
        finally:
            self.open -= 1

    async def _pieces(self, run_id: UUID) -> AsyncGenerator[bytes]:
        number, quiet, seen = 0, 0.0, None
        while True:
            async with self._database.transaction() as tx:
                run = await service.get(tx, run_id)
            if (visible := _visible(run)) != seen:
                number, quiet, seen = number + 1, 0.0, visible
                yield event(number, "progress", RunDocument.of(run).model_dump_json())
            elif quiet >= QUIET:
                quiet = 0.0
                yield _ALIVE
            if run.state not in OPEN:
                yield event(number + 1, "end", RunDocument.of(run).model_dump_json())
                return
            await self._clock.sleep(PERIOD)
            quiet += PERIOD

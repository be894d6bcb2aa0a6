"""The background worker: looks around for running runs and works on its share of each.

It looks every half second while it works and every second while it does not, and at once when a run has changed
(NOTIFY). Everything it knows is in PostgreSQL: a worker that dies loses its leases, nothing else.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from pydantic import ValidationError

from tiebreak.clock import Clock
from tiebreak.errors import TiebreakError, Unavailable
from tiebreak.ids import new_id
from tiebreak.infrastructure.connections.postgres import AWAY, Database, passes
from tiebreak.providers import service as providers
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.secrets import Keyring
from tiebreak.runs import leases, service
from tiebreak.runs.budget import exposure, share
from tiebreak.runs.lane import Allowance, Lane
from tiebreak.runs.leases import Lease
from tiebreak.runs.link import Link
from tiebreak.runs.model import RunState
from tiebreak.runs.presence import Beat, Presence, RunningRun
from tiebreak.runs.work import Work, prepare

BUSY_BEAT: Final = 0.5  # seconds
IDLE_BEAT: Final = 1.0
MOST_LANES: Final = 16  # runs at a time; the others wait for their turn, the oldest first

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Ride:
    """A run that is being worked on: the task that owns it, and its lane as soon as that is open."""

    allowance: Allowance
    task: asyncio.Task[None] | None = None
    lane: Lane | None = None
    stopping: bool = False

    def allow(self, allowance: Allowance) -> None:
        self.allowance = allowance
        if self.lane is not None:
            self.lane.allow(allowance)

    def stop(self) -> None:
        self.stopping = True
        if self.lane is not None:
            self.lane.stop()


class Worker:
    """Claims tasks of running runs, calls the providers, and commits results, until it is stopped."""

    def __init__(
        self,
        *,
        database: Database,
        pipeline: Pipeline,
        keyring: Keyring,
        clock: Clock,
        lease_seconds: float = 10.0,
        grace_seconds: float = 10.0,
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._keyring = keyring
        self._lease_seconds = lease_seconds
        self._grace_seconds = grace_seconds
        self._token = new_id()
        self._link = Link(database, clock)
        self._stirred = asyncio.Event()
        self._stopping = False
        self._rides: dict[UUID, _Ride] = {}
        self._presence = Presence(database.config.dsn, self._stirred.set)

    def stop(self) -> None:
        """Claim nothing more; `run()` returns when what is in flight has landed, at the latest after the grace."""
        self._stopping = True
        self._stirred.set()

    async def run(self) -> None:
        """Work until `stop()`, or until cancelled, which stops in the same way and is then passed on."""
        looking = asyncio.create_task(self._look_around())
        try:
            await asyncio.shield(looking)
        finally:
            self.stop()
            try:
                await asyncio.wait([looking])
                await self._leave()
            finally:
                await self._presence.close()
                await self._link.close()
            log.info("worker stopped", worker=str(self._token))

    async def _look_around(self) -> None:
        log.info("worker ready", worker=str(self._token))
        while not self._stopping:
            self._stirred.clear()
            try:
                beat = await self._presence.beat()
                await self._stop_overdue(beat)
            except AWAY as exc:
                if not passes(exc):
                    raise
                self._link.lost(exc)
            else:
                self._link.found()
                self._follow(beat)
            await self._rest()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(BUSY_BEAT if self._rides else IDLE_BEAT):
                await self._stirred.wait()

    async def _stop_overdue(self, beat: Beat) -> None:
        """Time runs out and limits are lowered without any result landing."""
        for run in beat.runs:
            if run.overdue:
                await self._link.once(partial(leases.finish, lease=self._lease(run), results=()))

    def _follow(self, beat: Beat) -> None:
        """Begin, adjust and stop lanes, so that they match the runs that are running."""
        running = {run.id: run for run in beat.runs if not run.overdue}
        for run_id, ride in self._rides.items():
            if run_id not in running:
                ride.stop()
        for run in running.values():
            slots = share(run.concurrency, beat.workers, beat.rank)
            allowance = Allowance(
                slots,
                exposure(run.concurrency, beat.workers),
                run.max_cost_nano,
                run.cost_nano,
                run.max_requests is not None,
            )
            if run.id in self._rides:
                self._rides[run.id].allow(allowance)
            elif len(self._rides) < MOST_LANES:
                ride = self._rides[run.id] = _Ride(allowance)
                ride.task = asyncio.create_task(self._work_on(run, ride))

    def _lease(self, run: RunningRun) -> Lease:
        return Lease(run.id, run.dataset_version_id, self._token, self._lease_seconds)

    async def _work_on(self, run: RunningRun, ride: _Ride) -> None:
        """One run from taking it up to leaving it; whatever happens to it touches no other."""
        try:
            work = await self._prepare(run.id)
            if not ride.stopping:
                ride.lane = Lane(link=self._link, work=work, lease=self._lease(run), allowance=ride.allowance)
                log.info("run taken up", run=str(run.id))
                await ride.lane.run()
        except Unavailable as exc:
            self._link.lost(exc)  # the next look around takes it up again
        except TiebreakError as exc:
            await self._halt(run.id, RunState.PAUSED, f"{exc.detail}; then resume")
        except ValidationError as exc:
            reason = (
                f"this version cannot read the plan of the run ({exc.error_count()} faults); start a new test"
            )
            await self._halt(run.id, RunState.FAILED, reason)
        except Exception as exc:
            # A fault of ours in one run must neither stop the others nor be tried again twice a second.
            log.exception("run stopped by an internal error", run=str(run.id))
            reason = f"internal error ({type(_innermost(exc)).__name__}), the log has the details; resume to try again"
            await self._halt(run.id, RunState.PAUSED, reason)
        finally:
            del self._rides[run.id]
            self._stirred.set()
            log.info("run left", run=str(run.id))

    async def _prepare(self, run_id: UUID) -> Work:
        async with self._database.transaction() as tx:
            run = await service.get(tx, run_id)
            provider_ids = {model.provider_id for variant in run.plan.variants for model in variant.models}
            accounts = {key: await providers.account(tx, key, self._keyring) for key in provider_ids}
        return prepare(run, accounts, self._pipeline)

    async def _halt(self, run_id: UUID, state: RunState, reason: str) -> None:
        await self._link.ask(lambda c: leases.halt(c, run_id, state=state, reason=reason))
        log.warning("run stopped", run=str(run_id), state=state.value, reason=reason)

    async def _leave(self) -> None:
        """Let what is in flight land, within the grace; cut off the rest, which gives its tasks back."""
        tasks = [ride.task for ride in self._rides.values() if ride.task is not None]
        for ride in self._rides.values():
            ride.stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _innermost(error: BaseException) -> BaseException:
    """The error inside the groups that task groups make."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

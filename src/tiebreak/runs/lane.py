"""One run in one worker: claim ahead, call within the slots, commit what has landed, renew what is held.

A slot is free as soon as its answer is scored; the answer waits in a bounded buffer for the next commit, which takes
all that has landed since the last one. So commits group themselves, and their time costs no call in flight.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from tiebreak.infrastructure.connections.postgres import passes
from tiebreak.runs import leases, refusals
from tiebreak.runs.leases import Lease
from tiebreak.runs.link import Link
from tiebreak.runs.model import Result, RunState, Task, TaskKey
from tiebreak.runs.scoring import spent
from tiebreak.runs.work import Work

DRY_WAIT: Final = 0.5  # seconds until the next claim when there was nothing to claim
MOST_COMMITTED: Final = 500  # results in one transaction
GATHER_WAIT: Final = 0.01  # seconds for more to land before a small batch is committed
OUTAGE_PATIENCE: Final = 90.0  # seconds that a call waits for a vendor that was there and is away
ABANDON_WAIT: Final = 1.0  # seconds for giving tasks back when the lane is cut short

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much this worker may do for the run at the moment. Money in nano-dollars.

    `slots` bounds its calls in flight, `exposed` those and the answers that are not committed yet.
    """

    slots: int
    exposed: int
    max_cost_nano: int | None
    cost_nano: int
    limits_requests: bool


@dataclass(slots=True)
class _Shelf:
    """The tasks under our lease, by how far they are; `held` is all of them."""

    held: dict[TaskKey, Task] = field(default_factory=dict)
    ready: deque[Task] = field(default_factory=deque)
    flying: int = 0
    landed: list[Result] = field(default_factory=list)
    committing: list[Result] = field(default_factory=list)

    @property
    def uncommitted(self) -> int:
        return len(self.landed) + len(self.committing)

    @property
    def quiet(self) -> bool:
        return not (self.ready or self.flying or self.landed or self.committing)


class Lane:
    """Works on one run. `run()` returns after `stop()`, when all that was in flight is committed."""

    def __init__(self, *, link: Link, work: Work, lease: Lease, allowance: Allowance) -> None:
        self._link = link
        self._work = work
        self._lease = lease
        self._allowance = allowance
        self._spent = allowance.cost_nano
        self._shelf = _Shelf()
        self._refusals = refusals.Refusals()
        self._tasks = asyncio.TaskGroup()
        self._stopping = False
        self._hungry = asyncio.Event()  # few tasks are ready
        self._stirred = asyncio.Event()  # there may be more to claim than the last time
        self._fallen = asyncio.Event()  # something landed
        self._ended = asyncio.Event()
        # Renewing and committing lock the same rows; one after the other, they cannot wait for each other in a circle.
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Work until `stop()`; cut short, give back what is held, as far as the database lets us within a second."""
        try:
            async with self._tasks:
                self._tasks.create_task(self._claim_ahead())
                self._tasks.create_task(self._commit_landed())
                self._tasks.create_task(self._renew_held())
        except BaseException:  # also a cancellation: what is held goes back to the queue
            await self._abandon()
            raise

    def allow(self, allowance: Allowance) -> None:
        """Take another share or other limits."""
        self._allowance = allowance
        self._spent = max(self._spent, allowance.cost_nano)
        self._stirred.set()
        self._fill()

    def stop(self) -> None:
        """Claim and start nothing more; what is in flight may land and is committed."""
        self._stopping = True
        for event in (self._hungry, self._stirred, self._fallen):
            event.set()

    def _slots(self) -> int:
        return min(self._allowance.slots, self._work.widest)

    def _affordable(self) -> bool:
        most = self._allowance.max_cost_nano
        shelf = self._shelf
        return most is None or self._spent + spent(shelf.landed) + spent(shelf.committing) < most

    def _take(self) -> Task | None:
        """The next task to call, if one may be called now."""
        shelf, slots = self._shelf, self._slots()
        room = shelf.flying < slots and shelf.flying + shelf.uncommitted < self._allowance.exposed
        may = room and not self._stopping and self._affordable()
        task = shelf.ready.popleft() if may and shelf.ready else None
        shelf.flying += task is not None
        if slots - len(shelf.ready) >= _batch(slots):
            self._hungry.set()
        return task

    def _fill(self) -> None:
        while (task := self._take()) is not None:
            self._tasks.create_task(self._fly(task))

    async def _fly(self, task: Task | None) -> None:
        """One call after the other, so that the next one leaves before other answers are looked at."""
        while task is not None:
            try:
                # Who has never answered is more likely misconfigured than away: that is to be told at once.
                patient = self._refusals.has_answered(task.key.variant)
                result = await self._work.answer(task, patience=OUTAGE_PATIENCE if patient else 0.0)
            finally:
                self._shelf.flying -= 1
            self._land(result)
            task = self._take()

    def _land(self, result: Result) -> None:
        if refusals.hits_every_call(result.error):
            if self._refusals.add(result):
                self._refuse(self._refusals.telling(result.key.variant))
        else:
            if result.error is None:
                self._shelf.landed += self._refusals.answered(result.key.variant)
            self._shelf.landed.append(result)
            self._mind_unknown_cost(result)
        self._fallen.set()

    def _refuse(self, result: Result) -> None:
        self._halt(refusals.reason(self._work.variants[result.key.variant], result))

    def _mind_unknown_cost(self, result: Result) -> None:
        limited = self._allowance.max_cost_nano is not None
        if limited and result.error is None and result.cost_nano is None:
            variant = self._work.variants[result.key.variant]
            self._halt(
                f"budget: provider {variant.provider!r} does not say how many tokens {variant.model!r} takes, so the "
                "money cannot be counted; remove max_cost from the budget and resume"
            )

    def _halt(self, reason: str) -> None:
        if not self._stopping:
            self.stop()
            self._tasks.create_task(self._write_halt(reason))

    async def _write_halt(self, reason: str) -> None:
        run_id = self._lease.run_id
        await self._link.ask(lambda c: leases.halt(c, run_id, state=RunState.PAUSED, reason=reason))
        log.warning("run paused", run=str(run_id), reason=reason)

    async def _claim_ahead(self) -> None:
        shelf = self._shelf
        while not self._stopping:
            self._hungry.clear()
            self._stirred.clear()
            slots = self._slots()
            missing = slots - len(shelf.ready)
            if missing < _batch(slots) or not self._affordable():
                await self._hungry.wait()
            elif not await self._claim(missing):
                await self._judge_held_back()
                await _wait(self._stirred, DRY_WAIT)
        unstarted = [task.key for task in shelf.ready]
        shelf.ready.clear()
        if unstarted:
            await self._link.ask(lambda c: leases.release(c, self._lease, unstarted))
            self._forget(unstarted)

    async def _claim(self, limit: int) -> bool:
        take = leases.claim_within_requests if self._allowance.limits_requests else leases.claim
        tasks = await self._link.ask(lambda c: take(c, self._lease, limit))
        for task in tasks:
            if task.key not in self._shelf.held:  # else our own lease ran out while the task is in flight
                self._shelf.held[task.key] = task
                self._shelf.ready.append(task)
        self._fill()
        return bool(tasks)

    async def _judge_held_back(self) -> None:
        """Nothing more is coming: held-back failures are results if their variant ever answered, else they stop the run."""
        held = self._refusals.first()
        if held is None or not self._shelf.quiet:
            return
        variant, run_id = held.key.variant, self._lease.run_id
        if self._refusals.has_answered(variant) or await self._link.ask(
            lambda c: leases.answered(c, run_id, variant)
        ):
            self._shelf.landed += self._refusals.answered(variant)
            self._fallen.set()
        else:
            self._refuse(held)

    async def _commit_landed(self) -> None:
        shelf = self._shelf
        while not (self._stopping and not shelf.flying and not shelf.landed):
            await self._fallen.wait()
            self._fallen.clear()
            if len(shelf.landed) < _batch(self._slots()) and not self._stopping:
                await asyncio.sleep(GATHER_WAIT)
            if shelf.landed:
                await self._commit()
        if held_back := self._refusals.take():
            async with self._writing:
                await self._link.ask(lambda c: leases.give_back(c, self._lease, held_back))
            self._forget([result.key for result in held_back])
        self._ended.set()

    async def _commit(self) -> None:
        shelf = self._shelf
        shelf.committing, shelf.landed = shelf.landed[:MOST_COMMITTED], shelf.landed[MOST_COMMITTED:]
        async with self._writing:
            standing = await self._link.ask(lambda c: leases.finish(c, self._lease, shelf.committing))
        self._forget([result.key for result in shelf.committing])
        shelf.committing = []
        if shelf.landed:
            self._fallen.set()
        if standing is None or standing.state is not RunState.RUNNING:
            self.stop()
        else:
            self._spent = max(self._spent, standing.cost_nano)
        self._fill()

    async def _renew_held(self) -> None:
        while not await _wait(self._ended, self._lease.seconds / 3):
            async with self._writing:
                await self._renew(list(self._shelf.held))

    async def _renew(self, keys: list[TaskKey]) -> None:
        kept = await self._link.ask(lambda c: leases.renew(c, self._lease, keys)) if keys else set()
        # What is lost is somebody else's: not begun, it is dropped; in flight, its result will not count.
        self._forget([key for key in keys if key not in kept])

    def _forget(self, keys: Sequence[TaskKey]) -> None:
        for key in keys:
            self._shelf.held.pop(key, None)
        if any(task.key not in self._shelf.held for task in self._shelf.ready):
            self._shelf.ready = deque(task for task in self._shelf.ready if task.key in self._shelf.held)

    async def _abandon(self) -> None:
        try:
            async with asyncio.timeout(ABANDON_WAIT):
                await self._link.once(lambda c: leases.release_all(c, self._lease))
        except Exception as exc:
            # The leases run out by themselves; what ends the lane must not be hidden by this.
            if not passes(exc):
                log.exception("tasks not given back", run=str(self._lease.run_id))


def _batch(slots: int) -> int:
    """The fewest tasks worth a claim or a commit of their own."""
    return max(1, slots // 4)


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came within the time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

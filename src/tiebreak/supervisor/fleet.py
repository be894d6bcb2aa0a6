"""The request workers: one for each listening socket, and their restart one after the other."""

import asyncio
import socket
from collections.abc import Callable, Sequence

from tiebreak.supervisor.children import Child, say
from tiebreak.supervisor.switchboard import READY_WITHIN, Switchboard
from tiebreak.supervisor.tether import GRACE


class Fleet:
    """`command` gives the words that start the worker of a slot; `failed` hears the exit code of one that cannot run."""

    def __init__(
        self,
        slots: int,
        command: Callable[[int], Sequence[str]],
        passed: Sequence[int],
        board: Switchboard,
        failed: Callable[[asyncio.Task[int]], None],
    ) -> None:
        self._command = command
        self._passed = passed
        self._board = board
        self._failed = failed
        self.workers = [self._worker(slot) for slot in range(slots)]
        self._all = set(self.workers)

    def _worker(self, slot: int) -> Child:
        process = f"requests-{slot}"

        async def attend(child: Child, end: socket.socket) -> None:
            await self._board.attend(child, end, process, slot)

        return Child(
            f"request worker {slot}",
            self._command(slot),
            self._passed,
            attend=attend,
            on_restart=self._board.restarted(process),
        )

    def start_first(self) -> None:
        """Start one: it makes the database, and tells whether anything can run here at all."""
        self.workers[0].start().add_done_callback(self._failed)

    def start_others(self) -> None:
        """Start the rest, once the first one answers; none of them is given up any more."""
        for worker in self.workers:
            worker.proven = True
        for worker in self.workers[1:]:
            worker.start().add_done_callback(self._failed)

    async def answer(self) -> None:
        """Wait until each one answers."""
        for worker in self.workers:
            await worker.answering.wait()

    async def roll(self) -> bool:
        """Replace each worker: the new one answers before the old one leaves. Whether all were replaced.

        A new one that does not come up ends the round; the old ones stay.
        """
        for slot, old in enumerate(self.workers):
            fresh = self._worker(slot)
            self._all.add(fresh)
            started = fresh.start()
            answers = asyncio.create_task(fresh.answering.wait())
            await asyncio.wait({started, answers}, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
            answers.cancel()
            if not fresh.answering.is_set():
                say(f"the new {fresh.name} does not answer, so the old workers stay; the log above says why")
                await fresh.stop(GRACE)
                self._all.discard(fresh)
                return False
            fresh.proven = True
            started.add_done_callback(self._failed)
            self.workers[slot] = fresh
            await old.stop(GRACE + 1)
            self._all.discard(old)
        return True

    async def stop(self) -> None:
        """End all of them, in `GRACE` and a second."""
        await asyncio.gather(*(worker.stop(GRACE + 1) for worker in self._all))

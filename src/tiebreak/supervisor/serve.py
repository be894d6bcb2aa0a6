"""`serve`: holds the listening sockets, starts the children, obeys signals, and takes everything along when it leaves.

A worker that dies leaves its socket to the others: requests wait in the socket's queue for an instant, none is refused.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tiebreak.auth.files import owner_key
from tiebreak.errors import Conflict, InvalidInput, Unavailable
from tiebreak.ids import new_id
from tiebreak.infrastructure.telemetry import pulse
from tiebreak.settings import Settings
from tiebreak.supervisor.announcement import Announcement
from tiebreak.supervisor.children import Child, say
from tiebreak.supervisor.fleet import Fleet
from tiebreak.supervisor.listeners import address_of, exposed, listen, url_of
from tiebreak.supervisor.switchboard import READY_WITHIN, Switchboard
from tiebreak.supervisor.tether import GRACE

PYTHON = (sys.executable, "-P", "-m")


def serve(settings: Settings, home: Path, *, on_ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or Ctrl-C; gives the exit code. `on_ready` hears the URL at the first answer.

    Raises:
        TiebreakError: it cannot start.
    """
    address = address_of(settings.host)
    with _alone(home):
        owner_key(home)  # made before anybody can ask for it
        if exposed(address):
            _require_keys(settings)
        with listen(address, settings.port, settings.workers) as listeners:
            return asyncio.run(_supervise(listeners, home, on_ready))


def _require_keys(settings: Settings) -> None:
    from tiebreak.app import has_keys

    if not asyncio.run(has_keys(settings)):
        raise InvalidInput(
            f"{settings.host!r} is not loopback, and there is no API key yet: anybody who reaches the server could use "
            "it. Make one with `tiebreak key create --scope admin`, then start again"
        )


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    descriptor = os.open(home / "serve.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as exc:
        other = Announcement.read(home)
        where = f" at {other.url} (process {other.pid})" if other else ""
        raise Conflict(
            f"a server runs on the data folder {home} already{where}; stop it, or set TIEBREAK_HOME to another folder"
        ) from exc
    finally:
        os.close(descriptor)


def hangup_restarts() -> bool:
    """Whether SIGHUP asks for a restart of the workers: not where it means that our terminal has gone."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return True
    return False


async def _supervise(listeners: list[socket.socket], home: Path, on_ready: Callable[[str], None]) -> int:
    return await _Supervisor(listeners, home, on_ready).run()


class _Supervisor:
    """One `serve`, from its first child to its last."""

    def __init__(self, listeners: list[socket.socket], home: Path, on_ready: Callable[[str], None]) -> None:
        self._home = home
        self._on_ready = on_ready
        self._announcement = Announcement(url_of(listeners[0]), os.getpid(), str(new_id()))
        self._tether, self._held = os.pipe()
        self._board = Switchboard(len(listeners))
        self._leave: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._restart = asyncio.Event()
        port = listeners[0].getsockname()[1]
        numbers = [listener.fileno() for listener in listeners]
        place = [str(port), self._announcement.instance, str(self._tether), ",".join(map(str, numbers))]
        self._fleet = Fleet(
            len(listeners),
            lambda slot: [*PYTHON, "tiebreak.supervisor.request_worker", *place, str(slot)],
            [*numbers, self._tether],
            self._board,
            self._failed,
        )
        self._background = Child(
            "background worker",
            [*PYTHON, "tiebreak", "worker", "--tether", str(self._tether), "--control"],
            [self._tether],
            attend=lambda child, end: self._board.attend(child, end, "background"),
            on_restart=self._board.restarted("background"),
        )

    def _failed(self, ended: asyncio.Task[int]) -> None:
        """A child cannot run at all: leave with its exit code."""
        if self._leave.done() or ended.cancelled():
            return
        error = ended.exception()
        if error is not None:
            self._leave.set_exception(error)
        elif ended.result():
            self._leave.set_result(ended.result())

    def _stop(self) -> None:
        if not self._leave.done():
            self._leave.set_result(0)

    async def run(self) -> int:
        self._obey_signals()
        owned = [
            asyncio.create_task(work)
            for work in (
                self._bring_up(),
                self._rolling(),
                self._board.watch(),
                pulse.beat(self._board.metrics, "supervisor"),
            )
        ]
        for task in owned:
            task.add_done_callback(self._broke)
        try:
            return await self._leave
        finally:
            for task in owned:
                task.cancel()
            await asyncio.gather(*owned, return_exceptions=True)
            await asyncio.gather(self._fleet.stop(), self._background.stop(GRACE + 1), return_exceptions=True)
            self._announcement.withdraw(self._home)
            os.close(self._tether)
            os.close(self._held)

    def _obey_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._restart.set if hangup_restarts() else self._stop)

    async def _bring_up(self) -> None:
        """One after the other, so that the others find the database there and migrated."""
        self._fleet.start_first()
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self._fleet.workers[0].answering.wait()
        except TimeoutError as exc:
            raise Unavailable(
                f"the server did not answer within {READY_WITHIN:g} s; its log above says why"
            ) from exc
        self._announcement.write(self._home)
        self._on_ready(self._announcement.url)
        self._fleet.start_others()
        self._background.start().add_done_callback(self._failed)
        await self._fleet.answer()
        if len(self._fleet.workers) > 1:
            say(f"all {len(self._fleet.workers)} request workers answer")

    def _broke(self, task: asyncio.Task[None]) -> None:
        """Without one of our own tasks the rest is not worth keeping."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._leave.done():
            self._leave.set_exception(error)

    async def _rolling(self) -> None:
        """Restart the workers one by one whenever asked; asked again meanwhile, once more afterwards."""
        while True:
            await self._restart.wait()
            self._restart.clear()
            await self._fleet.answer()
            say("restarting the workers, one after the other")
            if await self._fleet.roll():
                self._background.signal(signal.SIGTERM)
                say("all request workers are new")

"""The child that answers requests: `python -m tiebreak.supervisor.request_worker`, started by the supervisor only."""

import asyncio
import signal
import socket
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass

import uvicorn
import uvloop

from tiebreak.app import create_app
from tiebreak.auth.files import owner_key
from tiebreak.errors import TiebreakError
from tiebreak.ids import ProcessIdentity
from tiebreak.infrastructure.connections.private_postgres import resolve_home
from tiebreak.infrastructure.middleware.protocol import BoundedHttpProtocol
from tiebreak.infrastructure.middleware.server import LINGER, Server
from tiebreak.infrastructure.telemetry import instruments, logs, pulse
from tiebreak.infrastructure.telemetry.metrics import Metrics
from tiebreak.settings import Settings
from tiebreak.supervisor.children import say
from tiebreak.supervisor.control import Leaving, Line, Ready, Report, line
from tiebreak.supervisor.listeners import BACKLOG, exposed
from tiebreak.supervisor.tether import GRACE, leave_with_parent


@dataclass(frozen=True)
class Place:
    """What the supervisor tells a request worker; the numbers are inherited descriptors."""

    port: int
    instance: str
    tether: int
    listeners: list[int]
    slot: int
    control: int

    @classmethod
    def of(cls, words: list[str]) -> "Place":
        """From the command line."""
        port, instance, tether, listeners, slot, control = words
        numbers = [int(number) for number in listeners.split(",")]
        return cls(int(port), instance, int(tether), numbers, int(slot), int(control))


def main(place: Place) -> int:
    """Answer requests until told to leave; gives the exit code."""
    leave_with_parent(place.tether)
    logs.configure()
    try:
        uvloop.run(_Worker(Settings.read(), place).run())
    except TiebreakError as exc:
        say(exc.detail)
        return 3
    except asyncio.CancelledError:  # stopped while it was starting
        return 0
    return 0


class _Worker:
    """One request worker: the application, its server, and its line to the supervisor."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._place = place
        self._listeners = [socket.socket(fileno=number) for number in place.listeners]
        self._metrics = Metrics(instruments.ALL)
        self._process = ProcessIdentity(f"requests-{place.slot}")
        self._stopping = asyncio.Event()
        self._app = create_app(
            settings,
            port=place.port,
            instance=place.instance,
            stopping=self._stopping,
            metrics=self._metrics,
            scrape=self._scrape,
            process=self._process,
            traffic=True,
            owner=owner_key(resolve_home(settings.home)),
            exposed=exposed(self._listeners[0].getsockname()[0]),
        )
        self._server = Server(self._config(), on_started=lambda: self._line.say(Ready()))
        self._main: asyncio.Task[None] | None = None
        self._line: Line

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            loop="uvloop",
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="off",  # entered here, so that an error that names its remedy is not a traceback
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(GRACE - LINGER),
            backlog=BACKLOG,
        )

    async def run(self) -> None:
        self._main = asyncio.current_task()
        async with AsyncExitStack() as opened:
            self._line = await opened.enter_async_context(line(self._place.control, self._cover))
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._stop)
            opened.callback(self._report)  # what was counted to the very end
            await opened.enter_async_context(self._app.router.lifespan_context(self._app))
            beating = asyncio.create_task(pulse.beat(self._metrics, self._process.name, self._report))
            opened.callback(beating.cancel)
            await self._server.serve(sockets=[])

    def _report(self) -> None:
        self._line.say(Report(self._metrics.snapshot()))

    async def _scrape(self) -> str:
        self._report()  # our own numbers are then as new as the question
        return await self._line.scrape()

    async def _cover(self, slots: list[int]) -> None:
        await self._server.listen_on({slot: self._listeners[slot] for slot in slots})

    def _stop(self) -> None:
        self._server.should_exit = True
        self._stopping.set()
        self._line.say(Leaving())
        if not self._server.started and self._main is not None:
            self._main.cancel()


if __name__ == "__main__":
    sys.exit(main(Place.of(sys.argv[1:])))

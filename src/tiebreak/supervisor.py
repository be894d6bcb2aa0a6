"""The parent of `serve`: holds the listening socket, keeps two children running, and takes them along when it leaves.

Requests wait in the socket's queue while a request worker is replaced. Each child holds the read end of a pipe whose
write end only the supervisor has; its end of file tells the child that the supervisor is gone, however it went.
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tiebreak.auth.files import owner_key
from tiebreak.errors import Conflict, InvalidInput, Misconfigured, TiebreakError, Unavailable
from tiebreak.infrastructure.connections.private_postgres import resolve_home
from tiebreak.settings import Settings

GRACE = 10.0  # seconds a child may take to finish what it has begun
READY_WITHIN = 60.0  # seconds until the first answer; the first start makes a database
BACKLOG = 1024
SHORTEST_LIFE = 5.0  # seconds; a child that lives shorter has failed at once
FAILURES = 5  # at once, in a row: then restarting does not help
HOSTS = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Announcement:
    """The server on a data folder, as `server.json` there tells the command line (0600)."""

    url: str
    pid: int
    instance: str

    def write(self, home: Path) -> None:
        """Write the file; it is complete or absent."""
        fresh = home / f"server.json.{os.getpid()}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file)
        fresh.replace(home / "server.json")

    @classmethod
    def read(cls, home: Path) -> "Announcement | None":
        """What the file says, or None without one that can be read. The server may be gone: ask its /health."""
        try:
            document = json.loads((home / "server.json").read_bytes())
            return cls(str(document["url"]), int(document["pid"]), str(document["instance"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def withdraw(self, home: Path) -> None:
        """Remove the file, if it is still ours."""
        if self.read(home) == self:
            (home / "server.json").unlink(missing_ok=True)


def address_of(host: str) -> str:
    """The address to listen on.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return "127.0.0.1" if host == "localhost" else str(ipaddress.ip_address(host))
    except ValueError as exc:
        raise InvalidInput(
            f"--host {host!r} is no IP address; write 127.0.0.1 for this machine only, 0.0.0.0 for all networks, or "
            "one address of this machine"
        ) from exc


def exposed(address: str) -> bool:
    """Whether other machines may reach a server that listens there."""
    return address not in HOSTS


def listen(address: str, port: int) -> socket.socket:
    """The listening socket.

    Raises:
        Conflict: the port is taken.
        Misconfigured: this machine does not let us listen there.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as exc:
        if exc.errno == 98:  # EADDRINUSE
            raise Conflict(
                f"port {port} of {address} is taken; choose another with --port, or 0 for a free one"
            ) from exc
        raise Misconfigured(f"cannot listen on {address} port {port}: {exc.strerror}") from exc


def url_of(listener: socket.socket) -> str:
    """The address a person on this machine can open."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- read, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def restart_delay(failures: int) -> float:
    """Seconds before a child that failed so many times in a row is started again."""
    return 0.0 if failures == 0 else min(0.1 * 2.0 ** (failures - 1), 5.0)


class Child:
    """One child process, started again when it dies. Once `proven`, it is started again without end."""

    def __init__(self, name: str, command: Sequence[str], passed: Sequence[int]) -> None:
        self.name = name
        self.proven = False
        self._command = command
        self._passed = passed
        self._leaving = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._running: asyncio.Task[int] | None = None

    def start(self) -> asyncio.Task[int]:
        """Run it until `stop`; the task ends earlier with the exit code of a child that cannot run at all."""
        self._running = asyncio.create_task(self._keep_running())
        return self._running

    async def _keep_running(self) -> int:
        failures = 0
        while not self._leaving.is_set():
            began = time.monotonic()
            code = await self._run_once()
            if self._leaving.is_set():
                break
            failed_at_once = time.monotonic() - began < SHORTEST_LIFE
            failures = failures + 1 if failed_at_once else 0
            self.proven = self.proven or not failed_at_once
            # Before it has ever worked: 2 and 3 are its own choice, and it has said why on stderr.
            if not self.proven and (code in (2, 3) or failures >= FAILURES):
                return code if code in (2, 3) else 3
            say(f"the {self.name} ended ({_ending(code)}); starting it again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(restart_delay(failures)):
                    await self._leaving.wait()
        return 0

    async def _run_once(self) -> int:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, pass_fds=self._passed, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        if self._leaving.is_set():  # asked to leave while it was being made
            self._signal(signal.SIGTERM)
        return await self._process.wait()

    async def stop(self, grace: float) -> None:
        """Ask it to finish, and after `grace` seconds make it end."""
        self._leaving.set()
        if self._running is None:
            return
        self._signal(signal.SIGTERM)
        _, unfinished = await asyncio.wait({self._running}, timeout=grace)
        if unfinished:
            self._signal(signal.SIGKILL)
            await self._running

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def say(text: str) -> None:
    """One line on stderr, in the manner of the command line; whole, also when several processes speak."""
    sys.stderr.write(f"tiebreak: {text}\n")
    sys.stderr.flush()


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


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
        with listen(address, settings.port) as listener:
            return asyncio.run(_supervise(listener, home, on_ready))


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


async def _supervise(listener: socket.socket, home: Path, on_ready: Callable[[str], None]) -> int:
    from tiebreak.ids import new_id

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    announcement = Announcement(url_of(listener), os.getpid(), str(new_id()))
    tether, held = os.pipe()
    python = [sys.executable, "-P", "-m"]
    port = listener.getsockname()[1]
    place = [str(listener.fileno()), str(port), announcement.instance, str(tether)]
    requests = Child("request worker", [*python, "tiebreak.supervisor", *place], [listener.fileno(), tether])
    background = Child(
        "background worker", [*python, "tiebreak", "worker", "--tether", str(tether)], [tether]
    )

    answering = asyncio.create_task(_until_ready(announcement))
    stop = asyncio.create_task(stopping.wait())
    try:
        # One after the other, so that the second finds the database there and migrated.
        ended = [requests.start()]
        await asyncio.wait([stop, answering, *ended], return_when=asyncio.FIRST_COMPLETED)
        if answering.done() and not stop.done():
            answering.result()
            requests.proven = True
            announcement.write(home)
            on_ready(announcement.url)
            ended.append(background.start())
            await asyncio.wait([stop, *ended], return_when=asyncio.FIRST_COMPLETED)
        return max((child.result() for child in ended if child.done()), default=0)
    finally:
        listener.close()
        answering.cancel()
        stop.cancel()
        await asyncio.gather(
            requests.stop(GRACE + 1), background.stop(GRACE + 1), answering, stop, return_exceptions=True
        )
        announcement.withdraw(home)
        os.close(tether)
        os.close(held)


async def _until_ready(announcement: Announcement) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN):
            while await asyncio.to_thread(instance_at, announcement.url) != announcement.instance:  # noqa: ASYNC110 -- a process of its own
                await asyncio.sleep(0.1)
    except TimeoutError as exc:
        raise Unavailable(
            f"the server did not answer within {READY_WITHIN:g} s; its log above says why"
        ) from exc


def instance_at(url: str, timeout: float = 2.0) -> str | None:
    """The instance id a server tells at /health, or None when nothing of ours answers within `timeout` seconds."""
    import http.client
    from urllib.parse import urlsplit

    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout)
    try:
        connection.request("GET", "/health")
        return str(json.loads(connection.getresponse().read(65536))["instance"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def leave_with_parent(tether: int, grace: float = GRACE + 2) -> None:
    """Make this process end when the other end of the pipe closes: by SIGTERM, and for good after `grace` seconds.

    A thread of its own watches, so that an event loop that hangs cannot outlive the supervisor either.
    """

    def watch() -> None:
        while os.read(tether, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, name="tether", daemon=True).start()


def request_worker(descriptor: int, port: int, instance: str, tether: int) -> int:
    """The child that answers requests on the inherited socket; gives the exit code."""
    import uvloop

    from tiebreak.infrastructure.telemetry import logs

    leave_with_parent(tether)
    logs.configure()
    try:
        with socket.socket(fileno=descriptor) as listener:
            uvloop.run(_answer(Settings.read(), listener, port, instance))
    except TiebreakError as exc:
        say(exc.detail)
        return 3
    except asyncio.CancelledError:  # stopped while it was starting
        return 0
    return 0


async def _answer(settings: Settings, listener: socket.socket, port: int, instance: str) -> None:
    import uvicorn

    from tiebreak.app import create_app
    from tiebreak.infrastructure.middleware.protocol import BoundedHttpProtocol, Server

    stopping = asyncio.Event()
    app = create_app(
        settings,
        port=port,
        instance=instance,
        stopping=stopping,
        owner=owner_key(resolve_home(settings.home)),
        exposed=exposed(listener.getsockname()[0]),
    )
    server = Server(
        uvicorn.Config(
            app,
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
            timeout_graceful_shutdown=int(GRACE),
            backlog=BACKLOG,
        )
    )
    this = asyncio.current_task()

    def stop() -> None:
        server.should_exit = True
        stopping.set()
        if not server.started and this is not None:
            this.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    async with app.router.lifespan_context(app):
        await server.serve(sockets=[listener])


if __name__ == "__main__":
    sys.exit(request_worker(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))

"""Opening the private server: join the one that runs, or start it; and letting it go."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tiebreak.errors import Misconfigured, Unavailable
from tiebreak.infrastructure.connections.private_postgres.binaries import Binaries, discover, select
from tiebreak.infrastructure.connections.private_postgres.folder import Folder, resolve_home
from tiebreak.infrastructure.connections.private_postgres.locks import FileLock
from tiebreak.infrastructure.connections.private_postgres.order import Order
from tiebreak.infrastructure.connections.private_postgres.postmaster import accepts

PATIENCE_SECONDS = 120.0  # crash recovery of a large database takes its time
POLL_SECONDS = 0.02
_GUARDIAN = "tiebreak.infrastructure.connections.private_postgres.guardian"
# All that a guardian needs to be this Python again; the application's secrets stay out of its environment.
_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
    "COVERAGE_PROCESS_START",
    "COVERAGE_PROCESS_CONFIG",
)


class PrivatePostgres:
    """A hold on the server in one data folder: the server lives at least until `close()` or the end of this process.

    Calls block; from an event loop use `asyncio.to_thread`.
    """

    def __init__(self, folder: Folder, hold: FileLock, start: Callable[[float], None]) -> None:
        self.home = folder.home
        self.dsn = folder.dsn(folder.password.read_text().strip())
        self._folder = folder
        self._hold = hold
        self._start = start

    @classmethod
    def open(
        cls,
        home: Path | None = None,
        *,
        fsync: bool = True,
        patience: float = PATIENCE_SECONDS,
        programs: Callable[[], Iterable[Binaries]] = discover,
    ) -> Self:
        """Join the server of this data folder, or start it. Any number of processes may do so at once.

        `fsync=False` gives up safety against power cuts for speed, for tests; a server that runs already keeps its
        own setting. `patience` is in seconds. `programs` lists the installations to choose from, the preferred first.

        Raises:
            Misconfigured: no programs, no usable folder, no identity to run as; the message names the remedy.
            Unavailable: the server does not come up, or not in time.
        """
        folder = Folder(resolve_home(home))
        folder.create()
        hold = _open_lock(folder.clients_lock)

        def start(deadline: float) -> None:
            _start(folder, programs(), fsync=fsync, deadline=deadline)

        try:
            _join(folder, hold, time.monotonic() + patience, start)
            return cls(folder, hold, start)
        except BaseException:  # whatever ends the attempt, also Ctrl-C, must not keep a server alive
            hold.close()
            raise

    def revive(self, *, patience: float = PATIENCE_SECONDS) -> None:
        """See that the server runs; start it again when its guardian was killed. The URL stays the same.

        Costs a millisecond when all is well.

        Raises:
            Unavailable, Misconfigured: as for `open`.
        """
        _join(self._folder, self._hold, time.monotonic() + patience, self._start)

    def close(self) -> None:
        """Let go. The guardian stops the server within a second when nobody else holds it; not waited for."""
        self._hold.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_lock(path: Path) -> FileLock:
    try:
        return FileLock(path)
    except OSError as exc:
        raise Misconfigured(
            f"the data folder {path.parent} cannot be used ({path.name}: {exc.strerror}); "
            "set TIEBREAK_HOME to a folder of yours, or DATABASE_URL to a PostgreSQL server"
        ) from exc


def _join(folder: Folder, hold: FileLock, deadline: float, start: Callable[[float], None]) -> None:
    # Held alone only by a guardian on its way out; with our hold on it, none goes any more.
    _in_time(hold.shared(deadline), folder)
    with _open_lock(folder.start_lock) as turn:
        _in_time(turn.exclusive(deadline), folder)
        while not _ready(folder):
            _in_time(time.monotonic() < deadline, folder)
            if _guarded(folder):
                time.sleep(POLL_SECONDS)
            else:
                start(deadline)
        if not folder.password.exists():
            raise Misconfigured(
                f"{folder.password} is gone while the server runs; end every Tiebreak process on {folder.home}, "
                "and the next start makes a new password"
            )


def _in_time(so_far: bool, folder: Folder) -> None:
    if not so_far:
        raise Unavailable(
            f"the private PostgreSQL in {folder.home} does not become ready; {folder.log} says what it does",
            retry_after=5.0,
        )


def _guarded(folder: Folder) -> bool:
    with _open_lock(folder.guardian_lock) as probe:
        return not probe.try_exclusive()


def _ready(folder: Folder) -> bool:
    return _guarded(folder) and accepts(folder.data, folder.socket)


def _start(folder: Folder, found: Iterable[Binaries], *, fsync: bool, deadline: float) -> None:
    order = Order(folder.home, select(found, major=folder.major(), data=folder.data), fsync)
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    with subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
        [sys.executable, "-P", "-m", _GUARDIAN, order.to_json()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    ) as starter:
        try:
            # The starter itself has left at once; the guardian, its child, closes the pipe with its answer.
            answer, complaint = starter.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return  # the caller's deadline has passed as well, and it says so
    _understand(folder, answer, complaint)


def _understand(folder: Folder, answer: str, complaint: str) -> None:
    try:
        said = json.loads(answer)
    except ValueError:
        last = (complaint.strip() or "it ended without a word").splitlines()[-1]
        raise Unavailable(f"the guardian of {folder.home} did not start: {last}") from None
    if said.get("error") == Misconfigured.code:
        raise Misconfigured(said["detail"])
    if "error" in said:
        raise Unavailable(said["detail"])

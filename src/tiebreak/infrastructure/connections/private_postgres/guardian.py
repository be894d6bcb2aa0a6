"""The process that owns the private server: it starts it, restarts it, and stops it when nobody holds `clients.lock`.

Started as `python -m …guardian ORDER`, with its answer read from its standard output: one line of JSON,
`{"ready": true}` or an error. It has one thread and a session of its own, so that Ctrl-C reaches the application
only, and it leaves its starter at once, so that it does not matter who started it.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from tiebreak.errors import Misconfigured, TiebreakError, Unavailable
from tiebreak.infrastructure.connections.private_postgres import cluster
from tiebreak.infrastructure.connections.private_postgres.folder import Folder
from tiebreak.infrastructure.connections.private_postgres.identity import Identity, identify
from tiebreak.infrastructure.connections.private_postgres.locks import FileLock
from tiebreak.infrastructure.connections.private_postgres.order import Order
from tiebreak.infrastructure.connections.private_postgres.postmaster import Postmaster, clear_remains

POLL_SECONDS = 0.5
RESTARTS = 5
RESTARTS_SECONDS = 60.0
RESTART_WAIT_SECONDS = 0.1
LOG_BYTES = 10 * 1024 * 1024
ENOUGH_SECONDS = 2.0


@dataclass
class Guardian:
    """The server's owner; `log` takes what both of them say."""

    folder: Folder
    order: Order
    identity: Identity
    log: int
    _restarts: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS))

    def start(self) -> Postmaster:
        """Bring the server up, from whatever state the last one left.

        Raises:
            TiebreakError: it does not come up.
        """
        for data in (self.folder.data, self.folder.fresh_data):
            clear_remains(data, self.folder.socket)
        binaries = cluster.prepare(self.folder, self.order.binaries, self.identity, log=self.log)
        server = Postmaster.start(self.folder, binaries, self.identity, fsync=self.order.fsync, log=self.log)
        if not server.wait_ready():
            raise Unavailable(
                f"the private PostgreSQL ended with status {server.status} while starting; "
                f"{self.folder.log} says why"
            )
        return server

    def watch(self, server: Postmaster, clients: FileLock) -> None:
        """Stay until nobody uses the server, somebody ends us, or it dies too often; stop it then."""
        try:
            while True:
                told = signal.sigtimedwait((signal.SIGCHLD, signal.SIGTERM), POLL_SECONDS)
                if told is not None and told.si_signo == signal.SIGTERM:
                    return
                if not server.running():
                    server = self._restart(server)
                bound_log(self.folder.log)
                if clients.try_exclusive():
                    return
        finally:
            server.stop()
            with contextlib.suppress(OSError):
                self.folder.sockets.rmdir()

    def _restart(self, server: Postmaster) -> Postmaster:
        self.say(f"the server ended with status {server.status}; it is started again")
        while True:
            recent = [moment for moment in self._restarts if time.monotonic() - moment < RESTARTS_SECONDS]
            if len(recent) == RESTARTS:
                raise Unavailable(
                    f"the server ended more than {RESTARTS} times within {RESTARTS_SECONDS:g} s; it stays down"
                )
            # The first one at once; whatever ends it again may need a moment to pass.
            time.sleep(RESTART_WAIT_SECONDS * len(recent))
            self._restarts.append(time.monotonic())
            try:
                return self.start()
            except Unavailable as exc:
                self.say(exc.detail)

    def say(self, text: str) -> None:
        """A line in the log, beside the server's."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        os.write(self.log, f"{stamp} UTC [{os.getpid()}] GUARDIAN:  {text}\n".encode())


def bound_log(log: Path, limit: int = LOG_BYTES) -> None:
    """Keep the log and one older part, each under about `limit` bytes. The server goes on writing to the same file."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > limit:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


def main(argument: str) -> int:
    """Leave the starter, own the server until it is not needed, and say how that began."""
    if os.fork() != 0:
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGTERM))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    order = Order.from_json(argument)
    folder = Folder(order.home)
    os.chdir(folder.home)
    answer = os.dup(1)
    try:
        log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        return _own(folder, order, log, answer)
    except OSError as exc:
        _answer(answer, Misconfigured(f"the private PostgreSQL cannot use {folder.home}: {exc}"))
        return 1


def _own(folder: Folder, order: Order, log: int, answer: int) -> int:
    with FileLock(folder.guardian_lock) as alone, FileLock(folder.clients_lock) as clients:
        if not alone.exclusive(time.monotonic() + ENOUGH_SECONDS):
            _answer(answer, Unavailable(f"another guardian holds {folder.guardian_lock}"))
            return 1
        alone.write(f"{os.getpid()}\n")
        try:
            guardian = Guardian(folder, order, identify(), log)
            server = guardian.start()
        except TiebreakError as exc:
            _answer(answer, exc)
            return 1
        _answer(answer, None)
        try:
            guardian.watch(server, clients)
        except TiebreakError as exc:
            guardian.say(exc.detail)
            return 1
        return 0


def _answer(descriptor: int, error: TiebreakError | None) -> None:
    line = {"ready": True} if error is None else {"error": error.code, "detail": error.detail}
    # A starter that is gone already is nobody's loss: the clients' lock says whether to stay.
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, (json.dumps(line) + "\n").encode())
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

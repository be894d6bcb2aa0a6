"""The server process: its options, its start and end, and what an earlier one left behind."""

import contextlib
import os
import signal
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from tiebreak.errors import Unavailable
from tiebreak.infrastructure.connections.private_postgres.binaries import Binaries
from tiebreak.infrastructure.connections.private_postgres.folder import PORT, Folder
from tiebreak.infrastructure.connections.private_postgres.identity import Command, Identity, spawn

POLL_SECONDS = 0.01
FAST_SECONDS = 30.0
KILL_SECONDS = 5.0
SMALL_SHM_BYTES = 128 * 1024 * 1024
_READY_LINE = 7  # of postmaster.pid, counted from zero: see miscadmin.h, LOCK_FILE_LINE_PM_STATUS

# The one question a server answers before it knows who asks; there is no TLS on a Unix socket. A dying postmaster
# still accepts connections, but does not answer.
_ASK_FOR_TLS = struct.pack("!II", 8, 80877103)
_NO_TLS = b"N"


def options(*, sockets: Path, fsync: bool, shm_bytes: int) -> dict[str, str]:
    """The server's settings, given on its command line so that every start uses those of this version."""
    settings = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "shared_buffers": "64MB",
        "max_connections": "300",  # four request workers and the background, each with a full pool, and some tools
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "off",
        "log_destination": "stderr",
    }
    if not fsync:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    if shm_bytes < SMALL_SHM_BYTES:
        # Parallel workers share memory there, and a full /dev/shm fails the query.
        settings["max_parallel_workers_per_gather"] = "0"
    return settings


def shm_bytes() -> int:
    """The size of /dev/shm; 0 where there is none."""
    try:
        shm = os.statvfs("/dev/shm")  # noqa: S108 - asked for its size only
    except OSError:
        return 0
    return shm.f_frsize * shm.f_blocks


def environment() -> dict[str, str]:
    """What the server may see of ours: no PGPORT or PGDATA, and no secret of the application."""
    kept = ("PATH", "LD_LIBRARY_PATH")
    return {"LC_ALL": "C", "TZ": "UTC"} | {name: os.environ[name] for name in kept if name in os.environ}


def accepts(folder: Path, socket_path: Path) -> bool:
    """Whether the server on this data folder says that it is ready, and answers."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    if len(lines) <= _READY_LINE or lines[_READY_LINE].strip() != "ready":
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(socket_path))
            probe.sendall(_ASK_FOR_TLS)
            return probe.recv(1) == _NO_TLS
        except OSError:
            return False


def processes_in(folder: Path) -> list[int]:
    """The server processes that run on a data folder: each of them has it as its working directory."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - hundreds of Path objects for their names alone
        if not entry.isdigit():
            continue
        try:
            inside = os.readlink(f"/proc/{entry}/cwd") == str(folder)  # noqa: PTH115 - as above
            program = Path(f"/proc/{entry}/comm").read_text().strip() if inside else ""
        except OSError:  # ended meanwhile, or another user's
            continue
        if program.startswith("postgres"):
            found.append(int(entry))
    return found


def clear_remains(data: Path, socket_path: Path) -> None:
    """Wait for what an earlier server left to end, then end it; its stale lock files go too.

    The caller is the only guardian of this folder. Without this, a pid that the machine gave to somebody else, or a
    backend that outlived its postmaster, would keep the server from starting.

    Raises:
        Unavailable: a process does not end.
    """
    # A postmaster whose guardian died is shutting down in good order; backends without one have nothing to finish.
    _wait_until_none(data, FAST_SECONDS if _recorded_pid(data) in processes_in(data) else 0.0)
    for number in (signal.SIGQUIT, signal.SIGKILL):
        for pid in processes_in(data):
            _send(pid, number)
        _wait_until_none(data, KILL_SECONDS)
    if remains := processes_in(data):
        raise Unavailable(
            f"the processes {remains} of an earlier server on {data} do not end; end them and try again"
        )
    for stale in (data / "postmaster.pid", socket_path, socket_path.with_name(f"{socket_path.name}.lock")):
        stale.unlink(missing_ok=True)


def _wait_until_none(data: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while processes_in(data) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _recorded_pid(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@dataclass
class Postmaster:
    """One start of the server, as a child of this process, which has one thread."""

    folder: Folder
    pid: int
    status: int | None = None

    @classmethod
    def start(
        cls, folder: Folder, binaries: Binaries, identity: Identity, *, fsync: bool, log: int
    ) -> "Postmaster":
        """Start it; it is not ready yet. When we die it shuts down in good order."""
        settings = options(sockets=folder.sockets, fsync=fsync, shm_bytes=shm_bytes())
        argv = [str(binaries.postgres), "-D", str(folder.data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        devnull = os.open(os.devnull, os.O_RDONLY)
        try:
            command = Command(argv, folder.data, environment(), log, devnull, signal.SIGINT)
            return cls(folder, spawn(identity, command))
        finally:
            os.close(devnull)

    def running(self) -> bool:
        """Whether it still lives; reaps it when it does not."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def wait_ready(self) -> bool:
        """Wait as long as it lives, since recovery takes what it takes; False when it ended instead."""
        while self.running():
            if accepts(self.folder.data, self.folder.socket):
                return True
            time.sleep(POLL_SECONDS)
        return False

    def stop(self) -> None:
        """Shut down: at once but in good order; harder when that takes too long."""
        for number, seconds in (
            (signal.SIGINT, FAST_SECONDS),
            (signal.SIGQUIT, KILL_SECONDS),
            (signal.SIGKILL, KILL_SECONDS),
        ):
            deadline = time.monotonic() + seconds
            if self.running():
                _send(self.pid, number)
            while self.running() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if not self.running():
                return

"""Looking at the private server from outside, as a test's eye: what runs on a data folder, and waiting until nothing does."""

import time
from pathlib import Path

from tiebreak.infrastructure.connections.private_postgres.folder import Folder
from tiebreak.infrastructure.connections.private_postgres.postmaster import processes_in


def guardian_pid(home: Path) -> int:
    """The pid that the guardian of this folder wrote down."""
    return int(Folder(home).guardian_lock.read_text())


def postmaster_pid(home: Path) -> int:
    """The pid of the server process of this folder."""
    return int((Folder(home).data / "postmaster.pid").read_text().splitlines()[0])


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def left_over(home: Path) -> list[int]:
    """The processes of this folder's server, the guardian among them, that still live."""
    found = [pid for pid in processes_in(Folder(home).data) if alive(pid)]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "private_postgres.guardian" in line and f'"{home}"' in line and alive(int(entry.name)):
            found.append(int(entry.name))
    return found


def wait_until_gone(home: Path, seconds: float = 30.0) -> None:
    """Wait until no process of this folder's server is left; fail when one stays."""
    deadline = time.monotonic() + seconds
    while left := left_over(home):
        assert time.monotonic() < deadline, f"still alive after {seconds} s: {left}"
        time.sleep(0.02)

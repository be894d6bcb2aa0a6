"""Looking at the private server from outside, as a test's eye: what runs on a data folder, and waiting until nothing does."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tiebreak.infrastructure.connections.private_postgres.folder import Folder
from tiebreak.infrastructure.connections.private_postgres.postmaster import processes_in

CLIENT = Path(__file__).parent / "infrastructure" / "connections" / "private_postgres" / "private_client.py"


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
        if "private_postgres.guardian" in line and json.dumps(str(home)) in line and alive(int(entry.name)):
            found.append(int(entry.name))
    return found


def wait_until_gone(home: Path, seconds: float = 30.0) -> None:
    """Wait until no process of this folder's server is left; fail when one stays."""
    deadline = time.monotonic() + seconds
    while left := left_over(home):
        assert time.monotonic() < deadline, f"still alive after {seconds} s: {left}"
        time.sleep(0.02)


class Client:
    """A process of its own that holds the server of a folder, in a session of its own as a terminal gives it."""

    def __init__(
        self,
        home: Path,
        *,
        major: int | None = None,
        command: Sequence[str] = (sys.executable, str(CLIENT)),
        environment: Mapping[str, str] | None = None,
        uid: int | None = None,
    ) -> None:
        arguments = [str(home)] + ([str(major)] if major else [])
        self._process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=dict(environment) if environment is not None else None,
            cwd="/",
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
        self.pid = self._process.pid

    def answer(self, seconds: float = 60.0) -> dict[str, str]:
        """What it says of its opening: {"dsn"} or {"error", "detail"}."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._process.kill()
            raise AssertionError(f"no answer from the client: {self._process.communicate()[1]}")
        return json.loads(line)

    def dsn(self) -> str:
        """The URL it got."""
        answer = self.answer()
        assert "dsn" in answer, answer
        return answer["dsn"]

    def signal(self, number: int) -> None:
        """Send a signal to its whole process group, as a terminal does, and wait for its end."""
        os.killpg(self.pid, number)
        self._process.communicate(timeout=10)

    def close(self) -> None:
        """Let it end by itself."""
        self._process.communicate(timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate(timeout=10)  # closes its standard input, at which it ends
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate(timeout=10)

"""Advisory locks on files (`flock`): the kernel gives them back however their holder ends."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

POLL_SECONDS = 0.02


class FileLock:
    """One open lock file. Not inherited over exec; a fork shares it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_shared(self) -> bool:
        """Take the lock beside other shared holders; False while somebody holds it alone."""
        return self._try(fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Take the lock alone; False while anybody else holds it."""
        return self._try(fcntl.LOCK_EX)

    def shared(self, deadline: float) -> bool:
        """Wait for the shared lock until `deadline` on the monotonic clock; False when it passed."""
        return self._wait(fcntl.LOCK_SH, deadline)

    def exclusive(self, deadline: float) -> bool:
        """Wait for the exclusive lock until `deadline` on the monotonic clock; False when it passed."""
        return self._wait(fcntl.LOCK_EX, deadline)

    def write(self, text: str) -> None:
        """Leave a note in the file; only for the exclusive holder."""
        os.ftruncate(self._open_fd(), 0)
        os.pwrite(self._open_fd(), text.encode(), 0)

    def close(self) -> None:
        """Give the lock back. Harmless when repeated."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_fd(self) -> int:
        if self._fd is None:
            raise ValueError(f"the lock {self.path} is closed")
        return self._fd

    def _try(self, operation: int) -> bool:
        try:
            fcntl.flock(self._open_fd(), operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait(self, operation: int, deadline: float) -> bool:
        while not self._try(operation):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

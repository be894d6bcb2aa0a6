"""The log of every call: one JSON line each, handed to the kernel in one write before the answer's last byte."""

import os
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from tiebreak.errors import InvalidInput

CLIENT_LEFT = 499
NOT_ANSWERED = 0


class Call(Struct):
    """One call to the chat endpoint.

    `at` is the wall time of its arrival in seconds since 1970; `started` and `ended` are monotonic seconds. `status`
    is what was sent: 0 when a fault closed the connection instead, 499 when the client left before the answer.
    """

    at: float
    started: float
    ended: float | None = None
    model: str | None = None
    question: str | None = None
    status: int = NOT_ANSWERED
    stream: bool = False


class CallLog:
    """Appends to a file; without one it only counts."""

    def __init__(self, path: Path | None) -> None:
        self.count = 0
        self._encode = msgspec.json.Encoder().encode
        try:
            self._file = (
                None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            )
        except OSError as error:
            raise InvalidInput(
                f"cannot write the call log {path}: {error.strerror}; choose another file"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)

    def write(self, call: Call) -> None:
        """Add one call. No buffer of ours: what is written survives the end of any process."""
        self.count += 1
        if self._file is not None:
            os.write(self._file, self._encode(call) + b"\n")

"""The spool of one worker: events handed to the kernel before the last byte of the answer, safe from any kill.

One write a record; `fdatasync` in a thread every 50 ms or 1 MB, so that a power cut loses at most that much. When there
is no room the gateway serves on: events are thinned, then dropped, and every one of them is counted.
"""

import asyncio
import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self
from uuid import UUID
from zlib import crc32

import structlog

from tiebreak.clock import Clock
from tiebreak.errors import Unavailable
from tiebreak.infrastructure.connections.private_postgres.locks import FileLock
from tiebreak.observations.records import MARK, frame, frames
from tiebreak.observations.segments import make_folder, segment_path, segments

SPOOL: Final = "spool"  # the folder of all workers' spools, below the data folder
LOOK_SECONDS: Final = 1.0  # how often room on the disk is looked at
RETRY_SECONDS: Final = 0.25  # after a write that failed
KEPT_OF: Final = 16  # past the soft limit, one record of so many is kept

log = structlog.get_logger(__name__)


class OnFull(StrEnum):
    """What a spool without room means for the calls."""

    DROP = "drop-sampled"  # they go on; events are thinned and then dropped, and counted
    REFUSE = "refuse"  # new ones are refused while there is still room for those under way


@dataclass(frozen=True, slots=True)
class SpoolConfig:
    """Bytes and seconds. The soft limit is seven eighths of `max_bytes`."""

    max_bytes: int = 1 << 30
    min_free_bytes: int = (
        256 << 20
    )  # of the disk; below it nothing is written, because the database may live there too
    on_full: OnFull = OnFull.DROP
    segment_bytes: int = 16 << 20
    segment_seconds: float = 5.0
    sync_seconds: float = 0.05
    sync_bytes: int = 1 << 20

    @property
    def soft_bytes(self) -> int:
        """From here on records are thinned, or calls refused."""
        return self.max_bytes // 8 * 7


class Spool:
    """Written by one event loop; `run()` must be running for the syncs and for noticing that there is room again.

    `appended` and `dropped` count records, `synced_bytes` what a power cut cannot take, `stored_bytes` what lies in
    the folder.
    """

    def __init__(self, folder: Path, lock: FileLock, config: SpoolConfig, clock: Clock) -> None:
        self.folder = folder
        self.config = config
        self.appended = self.dropped = self.synced_bytes = self.written_bytes = self.stored_bytes = 0
        self._lock = lock
        self._clock = clock
        self._fd: int | None = None
        self._number = self._size = 0
        self._begun = 0.0
        self._retired: list[
            int
        ] = []  # full segments that are still to be synced; at most the folder's size of them
        self._retry_at: float | None = None  # after a failed write
        self._cramped = False  # the disk has less than `min_free_bytes`
        self._losing = False
        self._reason = "it is closed"
        self._much = asyncio.Event()
        self._closing = False
        self._begun_since_sync = False

    @classmethod
    def open(cls, root: Path, worker: UUID, config: SpoolConfig, clock: Clock) -> Self:
        """A new folder for this worker below `root`, held until `close()`.

        Raises:
            Misconfigured: it cannot be made, or would lie in memory; the message names the remedy.
        """
        return cls(root / str(worker), make_folder(root, worker), config, clock)

    @property
    def full(self) -> bool:
        """Whether records are being thinned or dropped."""
        return self._cramped or self._retry_at is not None or self.stored_bytes >= self.config.soft_bytes

    def require_room(self) -> None:
        """Ask before a call whose event must be kept.

        Raises:
            Unavailable: the spool is full and the policy is to refuse.
        """
        if self.config.on_full is OnFull.REFUSE and self.full:
            raise Unavailable(
                f"the spool {self.folder} is full and calls without a record are not allowed "
                "(policy refuse); bring the database back or make room",
                retry_after=1.0,
            )

    def append(self, payload: bytes) -> bool:
        """Hand one record to the kernel. False: there is no room, and it was counted as dropped."""
        return self._append(frame(payload), 1, sampled=True)

    def append_many(self, payloads: Sequence[bytes]) -> bool:
        """Hand several to the kernel in one write, all or none of them; never thinned."""
        return self._append(frames(payloads), len(payloads), sampled=False)

    def _append(self, data: bytes, records: int, *, sampled: bool) -> bool:
        if self._has_room(data, sampled=sampled) and self._write(data):
            self.appended += records
            if self._losing and not self.full:
                self._losing = False
                log.warning("the spool has room again", **self._figures())
            return True
        self.dropped += records
        if not self._losing:
            self._losing = True
            log.error("the spool has no room; events are dropped", reason=self._reason, **self._figures())
        return False

    def _has_room(self, data: bytes, *, sampled: bool) -> bool:
        if self._closing or (self._retry_at is not None and self._clock.monotonic() < self._retry_at):
            return False
        after = self.stored_bytes + len(data)
        if self._cramped:
            self._reason = f"the disk has less than {self.config.min_free_bytes} bytes free"
            return False
        if after > self.config.soft_bytes:
            self._reason = f"it may hold {self.config.max_bytes} bytes"
            if sampled and self.config.on_full is OnFull.DROP:
                # By the content alone: it thins all variants alike, whoever asks.
                return after <= self.config.max_bytes and crc32(data) % KEPT_OF == 0
        return after <= self.config.max_bytes

    def _write(self, data: bytes) -> bool:
        try:
            fd = self._segment()
            written = os.write(fd, data)
        except OSError as exc:
            return self._failed(exc.strerror or str(exc))
        if written != len(data):
            # A part of a record went in before the disk was full. It must not stand before the next ones.
            try:
                os.ftruncate(fd, self._size)
            except OSError:
                self._retire()
            return self._failed("the disk took a part of a record")
        self._retry_at = None
        self._size += written
        self.stored_bytes += written
        self.written_bytes += written
        if self._size >= self.config.segment_bytes:
            self._retire()
        if self.written_bytes - self.synced_bytes >= self.config.sync_bytes:
            self._much.set()
        return True

    def _failed(self, reason: str) -> bool:
        self._reason = reason
        self._retry_at = self._clock.monotonic() + RETRY_SECONDS
        return False

    def _segment(self) -> int:
        if self._fd is None:
            self._number += 1
            fd = _begin(segment_path(self.folder, self._number))
            self._fd, self._size, self._begun = fd, len(MARK), self._clock.monotonic()
            self.stored_bytes += len(MARK)
            self.written_bytes += len(MARK)
            self._begun_since_sync = True
        return self._fd

    def _retire(self) -> None:
        """End the segment in writing; the next record begins another."""
        if self._fd is not None:
            self._retired.append(self._fd)
            self._fd = None

    async def run(self) -> None:
        """Sync, end old segments and look for room, until `close()` or until cancelled."""
        looked = -LOOK_SECONDS
        while not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.config.sync_seconds):
                    await self._much.wait()
            self._much.clear()
            now = self._clock.monotonic()
            if self._fd is not None and now - self._begun >= self.config.segment_seconds:
                self._retire()
            if self.written_bytes > self.synced_bytes or self._retired:
                await self._sync()
            if now - looked >= LOOK_SECONDS:
                looked = now
                await self._look()

    async def _sync(self) -> None:
        target = self.written_bytes
        retired, self._retired = self._retired, []
        present = self._fd
        begun, self._begun_since_sync = self._begun_since_sync, False
        try:
            await asyncio.to_thread(_sync_files, present, retired, self.folder if begun else None)
        except OSError as exc:
            # What the kernel could not write stays readable as long as the machine runs; it is not tried again on
            # this file, because a second sync would claim success (the kernel reports such an error once).
            log.error("the spool could not be synced", reason=exc.strerror, folder=str(self.folder))
            if self._fd == present:
                self._retire()
        else:
            self.synced_bytes = target

    async def _look(self) -> None:
        """Learn what others drained and how full the disk is."""
        before = self.written_bytes
        stored, free = await asyncio.to_thread(_room, self.folder)
        self.stored_bytes = stored + self.written_bytes - before
        self._cramped = free < self.config.min_free_bytes
        if self._retry_at is not None and self._clock.monotonic() >= self._retry_at:
            self._retry_at = None  # the next record tries

    def _figures(self) -> dict[str, object]:
        return {"folder": str(self.folder), "bytes": self.stored_bytes, "dropped": self.dropped}

    def close(self) -> None:
        """Sync what is written and let go of the folder; whoever drains takes the rest. Harmless when repeated.

        `run()` must have ended, or be cancelled afterwards.
        """
        self._closing = True
        self._much.set()
        self._retire()
        retired, self._retired = self._retired, []
        for fd in retired:
            with suppress(OSError):  # said when it happened; at the end there is nothing left to do about it
                os.fdatasync(fd)
            os.close(fd)
        self.synced_bytes = self.written_bytes
        self._lock.close()


def _begin(path: Path) -> int:
    """A new segment with its mark; nothing is left of one that could not be begun."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    with ExitStack() as undo:
        undo.callback(path.unlink)
        undo.callback(os.close, fd)
        if os.write(fd, MARK) != len(MARK):
            raise OSError(errno.ENOSPC, "the disk took a part of a segment's mark")
        undo.pop_all()
    return fd


def _sync_files(present: int | None, retired: Sequence[int], folder: Path | None) -> None:
    """Sync all of them, and close the retired ones."""
    with ExitStack() as closing:
        for fd in retired:
            closing.callback(os.close, fd)
        for fd in retired if present is None else (*retired, present):
            os.fdatasync(fd)
    if folder is not None:  # a new file survives a power cut only with its entry in the folder
        entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def _room(folder: Path) -> tuple[int, int]:
    disk = os.statvfs(folder)
    return sum(segment.size for segment in segments(folder)), disk.f_bavail * disk.f_frsize

"""The folders of the spool: `<home>/spool/<worker>/NNNNNN.spool`, and who may touch them.

A worker holds `owner.lock` of its folder as long as it lives; whoever drains holds `drain.lock` meanwhile. The kernel
gives both back however their holder ends.
"""

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from tiebreak.errors import Misconfigured
from tiebreak.infrastructure.connections.private_postgres.locks import FileLock
from tiebreak.observations.records import HEAD_BYTES, MARK, MAX_PAYLOAD, Parsed, Tail, parse

OWNER_LOCK: Final = "owner.lock"
DRAIN_LOCK: Final = "drain.lock"
CHUNK: Final = 2 << 20
_SEGMENT: Final = re.compile(r"(\d{6,})\.spool")
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


@dataclass(frozen=True, slots=True)
class Segment:
    """One file; within a folder a higher number was begun later."""

    number: int
    path: Path
    size: int


def segment_path(folder: Path, number: int) -> Path:
    """Where this segment is."""
    return folder / f"{number:06}.spool"


def segments(folder: Path) -> list[Segment]:
    """The segments of a folder, the oldest first; none when the folder is gone."""
    found = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if name := _SEGMENT.fullmatch(entry.name):
                with suppress(FileNotFoundError):  # drained meanwhile
                    found.append(Segment(int(name[1]), Path(entry.path), entry.stat().st_size))
    return sorted(found, key=lambda segment: segment.number)


def read(path: Path, position: int, most: int) -> Parsed:
    """Up to `most` records of a segment from `position` on; `end` counts from the beginning of the file.

    Raises:
        FileNotFoundError: somebody drained and removed it.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        if position == 0:
            mark = os.pread(fd, len(MARK), 0)
            if mark != MARK:
                return Parsed([], 0, Tail.CUT if MARK.startswith(mark) else Tail.BAD)
            position = len(MARK)
        found = parse(os.pread(fd, CHUNK, position), most)
        if not found.payloads and found.tail is Tail.CUT:  # perhaps larger than a chunk
            found = parse(os.pread(fd, HEAD_BYTES + MAX_PAYLOAD, position), most)
    finally:
        os.close(fd)
    return Parsed(found.payloads, position + found.end, found.tail)


def folders(root: Path) -> list[tuple[UUID, Path]]:
    """The workers that have a folder here, in the order in which they started."""
    found = []
    with suppress(FileNotFoundError), os.scandir(root) as entries:
        for entry in entries:
            with suppress(ValueError):  # one that is only being made has another name
                found.append((UUID(entry.name), Path(entry.path)))
    return sorted(found)


def owner_lives(folder: Path) -> bool:
    """Whether the worker of this folder still holds it; False too when the folder is gone."""
    try:
        with FileLock(folder / OWNER_LOCK) as lock:
            return not lock.try_shared()
    except FileNotFoundError:
        return False


def orphans(root: Path) -> list[UUID]:
    """The workers that ended and left a folder: anybody may drain it."""
    return [worker for worker, folder in folders(root) if not owner_lives(folder)]


def make_folder(root: Path, worker: UUID) -> FileLock:
    """Make a worker's folder, for its user alone, and hold it. It appears under its name only when it is held.

    Raises:
        Misconfigured: the folder cannot be made, or it would lie in memory.
    """
    folder = root / str(worker)
    fresh = root / f"{worker}.new"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (kind := filesystem(root)) in _IN_MEMORY:
            raise Misconfigured(
                f"the spool {root} would lie in memory ({kind}) and be lost with the machine's power; "
                "set TIEBREAK_HOME to a folder on a disk"
            )
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        lock = FileLock(fresh / OWNER_LOCK)
        if not lock.try_exclusive():
            raise BlockingIOError(f"{fresh} is held by somebody else")
        fresh.rename(folder)
    except OSError as exc:
        raise Misconfigured(
            f"the spool folder {folder} cannot be made ({exc.strerror or exc}); "
            "make room, or let TIEBREAK_HOME name a folder that this user may write"
        ) from exc
    return lock


def filesystem(path: Path) -> str:
    """The kind of file system a path lies on, as the kernel names it; "" where the kernel does not tell."""
    try:
        lines = (
            Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        )
    except FileNotFoundError:
        return ""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields = line.split(" ")
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return ""

"""A closed loop of keep-alive HTTP/1.1 connections against a server, every request with its fate."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PATIENCE = 30.0  # seconds for one answer


@dataclass(frozen=True)
class Fate:
    """One request. `status` is 0 when the connection failed before the whole answer was there."""

    began: float
    ended: float
    status: int
    fresh: bool  # the first request of its connection


@dataclass
class Load:
    """What the connections have seen so far; monotonic seconds."""

    url: str
    path: str
    fates: list[Fate] = field(default_factory=list)
    unreachable: list[float] = field(default_factory=list)  # when a connection could not be made

    def failed(self) -> list[Fate]:
        """The requests without an answer."""
        return [fate for fate in self.fates if fate.status == 0]

    def answered(self, status: int) -> int:
        """How many requests got this status."""
        return sum(fate.status == status for fate in self.fates)

    async def connection(self, stop: asyncio.Event) -> None:
        """Ask again and again, over a new connection when the old one ends."""
        place = urlsplit(self.url)
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection(place.hostname, place.port)
            except OSError:
                self.unreachable.append(time.monotonic())
                await asyncio.sleep(0.01)
                continue
            fresh = open_still = True
            while open_still and not stop.is_set():
                began = time.monotonic()
                status, open_still = await self._ask(reader, writer)
                self.fates.append(Fate(began, time.monotonic(), status, fresh))
                fresh = False
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bool]:
        try:
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\n\r\n".encode())
            async with asyncio.timeout(PATIENCE):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
                lengths = [line.partition(":")[2] for line in head if line.startswith("content-length:")]
                await reader.readexactly(int(lengths[0]))
            return int(head[0].split()[1]), "connection: close" not in head
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return 0, False


@contextlib.asynccontextmanager
async def load(url: str, path: str, connections: int) -> AsyncIterator[Load]:
    """So many connections ask for `path` until the block ends; then each finishes its last request."""
    made, stop = Load(url, path), asyncio.Event()
    asking = [asyncio.create_task(made.connection(stop)) for _ in range(connections)]
    try:
        yield made
    finally:
        stop.set()
        await asyncio.gather(*asking)

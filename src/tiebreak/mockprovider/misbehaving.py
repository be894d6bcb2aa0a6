"""An answer sent wrongly: late, in part, byte by byte, for ever, or as a bomb."""

import asyncio
import zlib
from collections.abc import Callable, Sequence

from msgspec import Struct

from tiebreak.clock import Clock
from tiebreak.mockprovider import faults
from tiebreak.mockprovider.conversation import Timed
from tiebreak.mockprovider.fault import Fault
from tiebreak.mockprovider.wire import Exchange

LONGEST_SECONDS = 3600.0  # that a fault holds a connection whose client stays
_SHORTEST_WAIT = 0.001  # seconds; what an event loop's timer can tell apart
_BLOCK = b" " * 2**20


class Answer(Struct, frozen=True):
    """What is to be sent: one document, or events at their seconds after the request arrived."""

    kind: str
    parts: Sequence[Timed]
    arrived: float
    streamed: bool

    @property
    def whole(self) -> bytes:
        """All of it."""
        return b"".join(part for _, part in self.parts)


async def until(clock: Clock, moment: float) -> None:
    """Wait for a moment of the monotonic clock; never early, as a loop's timer may be."""
    while (left := moment - clock.monotonic()) > 0:
        await clock.sleep(max(left, _SHORTEST_WAIT))


class Misbehaviour:
    """One answer that goes wrong. `log` is called with the status before the last byte, or when no more will come."""

    def __init__(
        self,
        fault: Fault,
        answer: Answer,
        exchange: Exchange,
        clock: Clock,
        *,
        log: Callable[[int], None],
        error_event: bytes,
    ) -> None:
        self._fault = fault
        self._answer = answer
        self._exchange = exchange
        self._clock = clock
        self._log = log
        self._error_event = error_event

    async def send(self) -> None:
        """Send it so."""
        match self._fault.body:
            case "cut" | "reset":
                await self._break_off()
            case "stall":
                await self._chunks(self._fault.chunks)
                await self._hold()
            case "keep_alive":
                await self._comments()
            case "error_frame":
                await self._error_frame()
            case "drip":
                await self._pieces([bytes([byte]) for byte in self._answer.whole])
            case "split":
                await self._pieces(faults.split(self._answer.whole))
            case _:
                await self._whole()

    async def _whole(self) -> None:
        """All of it, after a wait where it is slow, with whatever is wrong inside."""
        fault, answer = self._fault, self._answer
        if fault.body == "slow":
            await until(self._clock, answer.arrived + fault.wait_ms / 1000)
        parts = list(answer.parts)
        if fault.body == "truncated":
            parts = (
                parts[: len(parts) // 2]
                if answer.streamed
                else [(at, part[: len(part) // 2]) for at, part in parts]
            )
        elif fault.body in {"malformed", "long_line"}:
            change = faults.malformed if fault.body == "malformed" else faults.lengthened
            place = min(fault.chunks, len(parts) - 1)
            parts[place] = parts[place][0], change(fault, parts[place][1])
        kind = fault.content_type or answer.kind
        if not answer.streamed:
            ((at, body),) = parts
            await until(self._clock, answer.arrived + at)
            self._log(fault.status)
            self._exchange.respond(fault.status, body, kind=kind)
            return
        await self._events(parts, kind)
        self._exchange.end()

    async def _events(self, parts: Sequence[Timed], kind: str, *, ends: bool = True) -> None:
        """The head and these events, each at its time."""
        first = parts[0][0] if parts else 0.0
        await until(self._clock, self._answer.arrived + first)
        self._exchange.begin(self._fault.status, kind)
        for place, (at, part) in enumerate(parts):
            await until(self._clock, self._answer.arrived + at)
            if ends and place == len(parts) - 1:
                self._log(self._fault.status)
            self._exchange.send(part)
            await self._exchange.drained()

    async def _chunks(self, count: int) -> None:
        """The head and so many chunks, never all of them."""
        answer = self._answer
        if answer.streamed:
            await self._events(answer.parts[: min(count, len(answer.parts) - 1)], answer.kind, ends=False)
            return
        whole = answer.whole
        await until(self._clock, answer.arrived + answer.parts[-1][0])
        self._exchange.begin(self._fault.status, answer.kind, length=len(whole))
        pieces = faults.chunks(whole)
        for piece in pieces[: min(count, len(pieces) - 1)]:
            self._exchange.write(piece)
            await self._clock.sleep(_SHORTEST_WAIT)  # so that it leaves as a piece of its own

    async def _break_off(self) -> None:
        fault = self._fault
        if fault.body == "reset" and fault.chunks == 0:
            self._log(0)
            self._exchange.reset()
            return
        await self._chunks(fault.chunks)
        self._log(fault.status)
        await self._clock.sleep(_SHORTEST_WAIT)
        if fault.body == "reset":
            self._exchange.reset()
        else:
            self._exchange.close()

    async def _comments(self) -> None:
        await self._events(
            self._answer.parts[: self._fault.chunks], "text/event-stream; charset=utf-8", ends=False
        )
        for _ in self._turns():
            self._exchange.send(b": keep-alive\n\n")
            await self._pause()
        self._exchange.drop()

    async def _error_frame(self) -> None:
        parts = self._answer.parts[: self._fault.chunks] if self._answer.streamed else []
        at = parts[-1][0] if parts else self._answer.parts[0][0]
        await until(self._clock, self._answer.arrived + at)
        if not self._answer.streamed:
            self._log(200)
            self._exchange.respond(200, self._error_event)
            return
        self._exchange.begin(200, self._answer.kind)
        for _, part in parts:
            self._exchange.send(part)
        self._log(200)
        self._exchange.send(self._error_event)
        self._exchange.end()

    async def _pieces(self, pieces: Sequence[bytes]) -> None:
        """The whole body, a piece at a time."""
        answer = self._answer
        await until(self._clock, answer.arrived + answer.parts[0][0])
        length = None if answer.streamed else sum(map(len, pieces))
        self._exchange.begin(self._fault.status, answer.kind, length=length)
        send = self._exchange.send if answer.streamed else self._exchange.write
        for piece in pieces[:-1]:
            send(piece)
            await self._pause()
        self._log(self._fault.status)
        send(pieces[-1])
        if answer.streamed:
            self._exchange.end()
        else:
            self._exchange.finish()

    async def _hold(self) -> None:
        await self._clock.sleep(LONGEST_SECONDS)
        self._exchange.drop()

    def _turns(self) -> range:
        return range(int(LONGEST_SECONDS * 1000 / max(1.0, self._fault.wait_ms)))

    async def _pause(self) -> None:
        await self._exchange.drained()
        await self._clock.sleep(self._fault.wait_ms / 1000)


async def never_answer(exchange: Exchange, clock: Clock) -> None:
    """Take the request and say nothing until the client leaves."""
    await clock.sleep(LONGEST_SECONDS)
    exchange.drop()


async def endless_headers(fault: Fault, exchange: Exchange, clock: Clock) -> None:
    """A head that does not end."""
    exchange.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(int(LONGEST_SECONDS * 1000 / max(1.0, fault.wait_ms))):
        exchange.write(b"x-mock-%d: more\r\n" % number)
        await exchange.drained()
        await clock.sleep(fault.wait_ms / 1000)
    exchange.drop()


async def gzip_bomb(fault: Fault, exchange: Exchange, log: Callable[[int], None]) -> None:
    """A body a thousand times as large as what is sent: spaces, a megabyte at a time, each compressed alike."""
    exchange.begin(fault.status, "application/json", headers={"content-encoding": "gzip"})
    exchange.send(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
    left, checksum = fault.size, 0
    block = _deflated(_BLOCK)
    while left > 0:
        piece = _BLOCK[: min(left, len(_BLOCK))]
        exchange.send(block if len(piece) == len(_BLOCK) else _deflated(piece))
        checksum = zlib.crc32(piece, checksum)
        left -= len(piece)
        await exchange.drained()
        await asyncio.sleep(0)  # between two blocks of work, so that other calls are served
    log(fault.status)
    exchange.send(b"\x03\x00" + checksum.to_bytes(4, "little") + (fault.size % 2**32).to_bytes(4, "little"))
    exchange.end()


def _deflated(data: bytes) -> bytes:
    """Blocks that refer to nothing before them, so that they can follow any others."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)

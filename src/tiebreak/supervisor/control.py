"""What the supervisor and its children say to each other, over a socket pair that each child inherits."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import msgspec

from tiebreak.errors import Unavailable
from tiebreak.infrastructure.telemetry.metrics import Reading

MOST_BYTES = 16 * 2**20  # of one message
MOST_WAITING = 2**20  # bytes written and not yet taken; beyond, messages are dropped
MOST_SCRAPES = 16  # at once, in one worker
ANSWER_WITHIN = 2.0  # seconds


class Ready(msgspec.Struct, tag=True, frozen=True):
    """A child answers."""


class Leaving(msgspec.Struct, tag=True, frozen=True):
    """A child accepts nothing any more and finishes what it has."""


class Report(msgspec.Struct, tag=True, frozen=True):
    """A child's metrics; the sign that its event loop runs, too."""

    readings: list[Reading]


class Scrape(msgspec.Struct, tag=True, frozen=True):
    """A child wants the metrics of all, as text."""

    number: int


class Exposition(msgspec.Struct, tag=True, frozen=True):
    """The answer to `Scrape`."""

    number: int
    text: str


class Cover(msgspec.Struct, tag=True, frozen=True):
    """From which listening sockets a request worker accepts: its own, and those that nobody serves now."""

    slots: list[int]


Message = Ready | Leaving | Report | Scrape | Exposition | Cover


class Channel:
    """One end: messages with their length before them. Neither end ever waits for the other to take something."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = msgspec.msgpack.Decoder(Message)

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """A channel over one end of a socket pair, which it owns from now on."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Message) -> bool:
        """Send it, unless the other side is gone or has stopped reading."""
        transport = self._writer.transport
        if transport.is_closing() or transport.get_write_buffer_size() > MOST_WAITING:
            return False
        body = msgspec.msgpack.encode(message)
        self._writer.write(len(body).to_bytes(4, "big") + body)
        return True

    async def messages(self) -> AsyncIterator[Message]:
        """What comes, until the other side is gone."""
        while True:
            try:
                size = int.from_bytes(await self._reader.readexactly(4), "big")
                if size > MOST_BYTES:
                    return
                body = await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield self._decoder.decode(body)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def _nothing(_: list[int]) -> None:
    """A background worker accepts from no socket."""


class Line:
    """A child's end: reports, asks for everybody's metrics, and hears what to accept."""

    def __init__(self, channel: Channel, cover: Callable[[list[int]], Awaitable[None]]) -> None:
        self._channel = channel
        self._cover = cover
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._number = 0

    def say(self, message: Ready | Leaving | Report) -> None:
        """Tell the supervisor; what it cannot take now is dropped, the next report says it again."""
        self._channel.send(message)

    async def listen(self) -> None:
        """Obey and hand out answers until the supervisor is gone."""
        async for message in self._channel.messages():
            if isinstance(message, Cover):
                await self._cover(message.slots)
            elif isinstance(message, Exposition) and message.number in self._asked:
                self._asked.pop(message.number).set_result(message.text)

    async def scrape(self) -> str:
        """The metrics of all processes, as text.

        Raises:
            Unavailable: the supervisor does not answer, or too many ask at once.
        """
        if len(self._asked) >= MOST_SCRAPES:
            raise Unavailable(
                f"{MOST_SCRAPES} scrapes are being answered; try again in a moment", retry_after=1
            )
        self._number += 1
        number = self._number
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self._channel.send(Scrape(number))
            async with asyncio.timeout(ANSWER_WITHIN):
                return await answer
        except TimeoutError as exc:
            raise Unavailable(
                f"the supervisor did not answer within {ANSWER_WITHIN:g} s; its process may be stopped",
                retry_after=1,
            ) from exc
        finally:
            self._asked.pop(number, None)


@asynccontextmanager
async def line(control: int, cover: Callable[[list[int]], Awaitable[None]] = _nothing) -> AsyncIterator[Line]:
    """The line of this process, over the descriptor that it inherited."""
    channel = await Channel.open(socket.socket(fileno=control))
    made = Line(channel, cover)
    listening = asyncio.create_task(made.listen())
    try:
        yield made
    finally:
        listening.cancel()
        channel.close()

"""What is learned of a relayed stream while its bytes go on: usage, the first token, whether it is whole. Pure.

The bytes are not changed, but for what we asked for and the caller did not: a chat's usage, which is an event at its end and
a field without a value in every event before.
"""

import re
from typing import Final

import msgspec

from tiebreak.gateway.frames import FrameCutter
from tiebreak.providers.adapters.adapter import StreamDecoder
from tiebreak.providers.adapters.events import EventReader
from tiebreak.providers.model import (
    ProviderError,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

KEPT_CHARACTERS: Final = 1 << 20  # of the text, for who records it


# Within a JSON text no quote stands bare, so this is never a piece of what the model said.
_NO_USAGE: Final = re.compile(rb',\s*"usage"\s*:\s*null|"usage"\s*:\s*null\s*,\s*')


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw]
    usage: msgspec.Raw = msgspec.Raw()


_chunks = msgspec.json.Decoder(_Chunk)


class Tap:
    """One stream. `feed` gives the bytes that go on; what it learned stands in the attributes.

    `failure` is what made the stream worthless, if something did: the vendor's error inside it, or bytes that are no
    events of its dialect. What came of them has been passed on all the same.
    """

    def __init__(self, decoder: StreamDecoder, *, hide_usage: bool, keep_text: bool) -> None:
        self.usage: Usage | None = None
        self.model: str | None = None
        self.begun = self.ended = False
        self.characters = 0
        self.failure: ProviderError | None = None
        self.text: list[str] = []
        self._decoder = decoder
        self._reader = EventReader()
        self._cutter = FrameCutter() if hide_usage else None
        self._keep_text = keep_text

    def feed(self, piece: bytes) -> bytes:
        """Take what came."""
        if self._cutter is None:
            self._learn(self._reader.feed(piece))
            return piece
        return b"".join([self._unasked(frame) for frame in self._cutter.feed(piece)])

    def finish(self) -> bytes:
        """The body has ended; gives what was held back."""
        held = b"" if self._cutter is None else self._cutter.rest()
        if held:
            self._learn(self._reader.feed(held))
        self._learn(self._reader.finish())
        if not self.ended and self.failure is None:
            try:
                self._take(self._decoder.finish())
            except ProviderError as error:
                self.failure = error
        return held

    def _unasked(self, frame: bytes) -> bytes:
        events = self._reader.feed(frame)
        self._learn(events)
        for data in events:
            frame = _without_usage(frame, data)
        return frame

    def _learn(self, events: list[bytes]) -> None:
        if self.failure is not None:
            return
        try:
            for data in events:
                self._take(self._decoder.take(data))
        except ProviderError as error:
            self.failure = error

    def _take(self, events: list[StreamEvent]) -> None:
        for event in events:
            match event:
                case TextDelta():
                    self.begun = True
                    self.characters += len(event.text)
                    if self._keep_text and self.characters <= KEPT_CHARACTERS:
                        self.text.append(event.text)
                case ToolCallDelta():
                    self.begun = True
                    self.characters += len(event.arguments)
                case UsageUpdate():
                    self.usage = event.usage
                case StreamEnd():
                    self.ended, self.model = True, event.model


def _without_usage(frame: bytes, data: bytes) -> bytes:
    """The event as a chat has it whose usage nobody asked for: without the field, and none where there is nothing else."""
    if b'"usage"' not in data:
        return frame
    try:
        chunk = _chunks.decode(data)
    except (ValueError, RecursionError):
        return frame
    told = bytes(chunk.usage)
    if told == b"null":
        cut, times = _NO_USAGE.subn(b"", frame)
        # Once, it is the chunk's own; further ones are in a vendor's additions, and which is which is not known.
        return cut if times == 1 else frame
    return b"" if told and not chunk.choices else frame

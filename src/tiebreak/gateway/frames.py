"""Server-sent events cut into frames without changing a byte, so that one can be left out. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from tiebreak.infrastructure.connections.http import TooLarge

# An event ends with an empty line, whichever of the three line ends is used.
_END: Final = re.compile(rb"\r?\n\r?\n|\r\r")
MOST_FRAME: Final = 8 * 1024 * 1024


class FrameCutter:
    """Bytes in pieces as they come, frames out as they are whole; all frames and the rest add up to what came."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The frames that are whole now, each with the empty line that ends it.

        Raises:
            TooLarge: a frame that does not end.
        """
        came = self._rest + piece if self._rest else piece
        begin = 0
        # An end may lie across two pieces, so the search begins a little before what is new.
        at = max(0, len(self._rest) - 3)
        while (end := _END.search(came, at)) is not None:
            yield came[begin : end.end()]
            begin = at = end.end()
        self._rest = came[begin:]
        if len(self._rest) > MOST_FRAME:
            raise TooLarge(f"an event of the stream is over {MOST_FRAME:,} bytes")

    def rest(self) -> bytes:
        """What came after the last whole frame."""
        rest, self._rest = self._rest, b""
        return rest

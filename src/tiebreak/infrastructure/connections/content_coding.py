"""Packed bodies, unpacked a little at a time, so that a small answer cannot become a large one unnoticed."""

import zlib
from collections.abc import Iterator
from typing import Final

from tiebreak.infrastructure.connections.http import Truncated, Unreadable

# Bytes unpacked at once.
STEP: Final = 64 * 1024
_GZIP: Final = zlib.MAX_WBITS | 16


def decoder_for(encoding: str) -> "Decoder | None":
    """What unpacks this content-encoding; None when there is nothing to unpack.

    Raises:
        Unreadable: it is not one of identity, gzip and deflate.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Decoder(gzip=True)
        case "deflate":
            return Decoder(gzip=False)
        case other:
            raise Unreadable(f"the answer is packed as {other[:40]!r}, which was not asked for")


class Decoder:
    """gzip, in one part or several, or deflate, with zlib's wrapping or without."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._unpacker: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes unpack to, in pieces of at most `STEP`."""
        more = False
        while data or more:
            unpacker = self._unpacker or self._begun(data)
            try:
                piece = unpacker.decompress(data, STEP)
            except zlib.error as exc:
                raise Unreadable("the answer is not packed as it says") from exc
            if piece:
                yield piece
            # A full step may leave more inside although every byte was taken.
            more = len(piece) == STEP and not unpacker.eof
            data = unpacker.unconsumed_tail or self._next_part(unpacker)

    def finish(self) -> None:
        """The body has ended.

        Raises:
            Truncated: in the middle of what is packed.
        """
        if self._unpacker is not None and not self._unpacker.eof:
            raise Truncated("the answer broke off in the middle of what is packed")

    def _begun(self, data: bytes) -> "zlib._Decompress":
        # RFC 9110 wants zlib's wrapping and some servers leave it out; its first byte gives it away.
        wrapped = data[0] & 0x0F == zlib.DEFLATED and data[0] >> 4 <= 7
        bits = _GZIP if self._gzip else zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
        self._unpacker = zlib.decompressobj(bits)
        return self._unpacker

    def _next_part(self, unpacker: "zlib._Decompress") -> bytes:
        rest = unpacker.unused_data
        if not rest:
            return b""
        if not self._gzip:
            raise Unreadable("the answer goes on after what is packed")
        self._unpacker = None
        return rest

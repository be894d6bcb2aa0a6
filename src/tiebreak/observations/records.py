"""The bytes of a spool segment: a mark at its start, then records of length, checksum and payload.

A power cut leaves any suffix: a record cut short, or zeros where the file's size was kept and its content was not.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from zlib import crc32

MARK: Final = b"TBSPOOL\x01"  # the last byte is the version of this layout
MAX_PAYLOAD: Final = 8 << 20
_HEAD: Final = struct.Struct("<II")
HEAD_BYTES: Final = _HEAD.size


class Tail(StrEnum):
    """Why reading stopped."""

    CLEAN = "clean"  # with the last record
    CUT = "cut"  # within one: more bytes may make it whole
    BAD = "bad"  # this is no record, and more bytes change nothing


@dataclass(frozen=True, slots=True)
class Parsed:
    """`end` is where the last whole record ends."""

    payloads: list[bytes]
    end: int
    tail: Tail


def frame(payload: bytes) -> bytes:
    """One record. The checksum covers the length too, so that zeros are no record.

    Raises:
        ValueError: empty or over `MAX_PAYLOAD`; whoever makes records bounds their parts.
    """
    size = len(payload)
    if not 0 < size <= MAX_PAYLOAD:
        raise ValueError(f"a record of {size} bytes; it must have 1 to {MAX_PAYLOAD}")
    return _HEAD.pack(size, crc32(payload, size)) + payload


def frames(payloads: Iterable[bytes]) -> bytes:
    """Several records in a row."""
    return b"".join(map(frame, payloads))


def parse(data: bytes, most: int) -> Parsed:
    """Up to `most` whole records from the beginning of `data`."""
    payloads: list[bytes] = []
    position, size = 0, len(data)
    tail = Tail.CLEAN
    while position < size and len(payloads) < most:
        start = position + HEAD_BYTES
        if start > size:
            tail = Tail.CUT
            break
        length, checksum = _HEAD.unpack_from(data, position)
        if not 0 < length <= MAX_PAYLOAD:
            tail = Tail.BAD
            break
        if start + length > size:
            tail = Tail.CUT
            break
        payload = data[start : start + length]
        if crc32(payload, length) != checksum:
            tail = Tail.BAD
            break
        payloads.append(payload)
        position = start + length
    return Parsed(payloads, position, tail)

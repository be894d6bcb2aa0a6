"""Unpacking bit by bit: whole whatever the cuts, small whatever the ratio, and never silently short."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.infrastructure.connections.content_coding import STEP, decoder_for
from tiebreak.infrastructure.connections.http import HttpError, Truncated, Unreadable


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-Gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "two parts": ("gzip", lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:])),
}


def unpacked(encoding: str, pieces: list[bytes]) -> bytes:
    decoder = decoder_for(encoding)
    assert decoder is not None
    found = [part for piece in pieces for part in decoder.feed(piece)]
    assert all(0 < len(part) <= STEP for part in found)
    decoder.finish()
    return b"".join(found)


@pytest.mark.parametrize("packing", PACKERS)
@given(data=st.binary(max_size=300), cut=st.integers(1, 40))
def test_any_cut_of_what_was_packed_unpacks_to_it(packing, data, cut):
    encoding, pack = PACKERS[packing]
    packed = pack(data)
    assert unpacked(encoding, [packed[at : at + cut] for at in range(0, len(packed), cut)]) == data


@pytest.mark.parametrize("packing", PACKERS)
def test_much_in_little_comes_in_steps(packing):
    encoding, pack = PACKERS[packing]
    data = bytes(3 * STEP + 17)
    assert unpacked(encoding, [pack(data)]) == data


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_what_is_not_packed_needs_no_unpacking(encoding):
    assert decoder_for(encoding) is None


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, deflate"])
def test_what_was_not_asked_for_is_unreadable(encoding):
    with pytest.raises(Unreadable, match=encoding):
        decoder_for(encoding)


@pytest.mark.parametrize("packing", ["gzip", "deflate", "raw deflate"])
def test_an_end_in_the_middle_is_truncated(packing):
    encoding, pack = PACKERS[packing]
    with pytest.raises(Truncated):
        unpacked(encoding, [pack(b"fine" * 50)[:-1]])


def test_nothing_at_all_is_nothing():
    assert unpacked("gzip", []) == b""


def test_more_than_what_is_packed_is_unreadable():
    with pytest.raises(Unreadable):
        unpacked("deflate", [zlib.compress(b"fine") + b"more"])


@given(data=st.binary(min_size=1, max_size=200))
def test_nonsense_is_a_named_failure_or_unpacks(data):
    for encoding in ("gzip", "deflate"):
        try:
            unpacked(encoding, [data])
        except HttpError:
            continue

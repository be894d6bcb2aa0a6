"""Frames of a stream: whole, unchanged, however the bytes come."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.gateway.frames import MOST_FRAME, FrameCutter
from tiebreak.infrastructure.connections.http import TooLarge

STREAM = b'data: {"a": 1}\n\n: ping\r\n\r\nevent: x\r\ndata: 2\r\n\r\ndata: [DONE]\n\n'
WHOLE = [b'data: {"a": 1}\n\n', b": ping\r\n\r\n", b"event: x\r\ndata: 2\r\n\r\n", b"data: [DONE]\n\n"]


@given(st.lists(st.integers(0, len(STREAM))))
def test_frames_are_the_same_wherever_the_pieces_are_cut(cuts):
    edges = sorted({0, *cuts, len(STREAM)})
    cutter = FrameCutter()
    pieces = [STREAM[begin:end] for begin, end in itertools.pairwise(edges)]
    assert [frame for piece in pieces for frame in cutter.feed(piece)] == WHOLE
    assert cutter.rest() == b""


@given(st.lists(st.binary(max_size=12).map(lambda raw: raw.replace(b"x", b"\n").replace(b"y", b"\r"))))
def test_nothing_is_lost_or_changed(pieces):
    cutter = FrameCutter()
    frames = [frame for piece in pieces for frame in cutter.feed(piece)]
    assert b"".join(frames) + cutter.rest() == b"".join(pieces)


def test_a_frame_that_does_not_end_is_refused():
    cutter = FrameCutter()
    with pytest.raises(TooLarge):
        for _ in range(MOST_FRAME // 65536 + 2):
            list(cutter.feed(b"x" * 65536))

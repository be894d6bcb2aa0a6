"""Server-sent events come out the same however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.providers.adapters.events import EventReader


def read(*pieces: bytes) -> list[bytes]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)] + reader.finish()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"", []),
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\r\n\r\ndata:b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\r\n\ndata: b\r\n\n", [b"a", b"b"]),
        (b": keep-alive\n\n: again\n\ndata: a\n\n", [b"a"]),
        (b"event: error\nid: 7\nretry: 9\ndata: a\n\n", [b"a"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b"data\ndatax: no\n\n", []),
        (b"data: last line has no end", [b"last line has no end"]),
        (b"data: last event has no end\n", [b"last event has no end"]),
        (b"data: \n\n", [b""]),
        ("data: ünï✓\n\n".encode(), ["ünï✓".encode()]),
    ],
)
def test_events_as_the_standard_says(stream, events):
    assert read(stream) == events
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == events


LINES = st.sampled_from([b"data: x", "data: é✓".encode(), b": note", b"event: e", b"", b"data: {}", b"data"])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=20), st.data())
def test_the_cuts_do_not_matter(lines, data):
    stream = b"".join(line + end for line, end in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == read(stream)


def test_an_endless_line_costs_linear_time():
    reader = EventReader()
    piece = b"x" * 50
    reader.feed(b"data: ")
    for _ in range(100_000):
        assert reader.feed(piece) == []
    (event,) = reader.feed(b"\n\n")
    assert len(event) == 5_000_000

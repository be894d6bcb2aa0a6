"""The bytes of a segment: whatever is written is read back, and whatever suffix is lost, what stands before it stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.observations.records import HEAD_BYTES, MAX_PAYLOAD, Tail, frame, frames, parse

PAYLOADS = st.lists(st.binary(min_size=1, max_size=60), max_size=8)


@given(PAYLOADS)
def test_what_is_written_is_read_back(payloads):
    written = frames(payloads)
    assert parse(written, 100) == parse(b"".join(frame(payload) for payload in payloads), 100)
    assert parse(written, 100).payloads == payloads
    assert parse(written, 100).tail is Tail.CLEAN
    assert parse(written, 100).end == len(written)


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4))
def test_cut_at_every_byte_all_whole_records_before_it_are_read(payloads):
    written = frames(payloads)
    ends = [len(frames(payloads[:count])) for count in range(len(payloads) + 1)]
    for cut in range(len(written)):
        found = parse(written[:cut], 100)
        whole = max(count for count, end in enumerate(ends) if end <= cut)
        assert found.payloads == payloads[:whole]
        assert found.end == ends[whole]
        assert found.tail is (Tail.CLEAN if cut == ends[whole] else Tail.CUT)


@given(PAYLOADS, st.integers(min_value=HEAD_BYTES, max_value=200))
def test_zeros_where_the_content_was_lost_are_no_records(payloads, zeros):
    found = parse(frames(payloads) + bytes(zeros), 100)
    assert (found.payloads, found.tail) == (payloads, Tail.BAD)


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4), st.data())
def test_a_changed_bit_is_found_and_nothing_before_it_is_lost(payloads, data):
    written = bytearray(frames(payloads))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= 1 << data.draw(st.integers(0, 7))
    ends = [len(frames(payloads[:count])) for count in range(len(payloads) + 1)]
    whole = max(count for count, end in enumerate(ends) if end <= place)
    found = parse(bytes(written), 100)
    assert found.payloads == payloads[:whole]
    assert found.tail is not Tail.CLEAN


def test_a_reader_takes_as_many_as_it_wants_and_can_go_on_behind_them():
    written = frames([b"a", b"bb", b"ccc"])
    first = parse(written, 2)
    assert first.payloads == [b"a", b"bb"]
    assert parse(written[first.end :], 2).payloads == [b"ccc"]


@pytest.mark.parametrize("size", [0, MAX_PAYLOAD + 1])
def test_a_record_without_content_or_beyond_the_limit_is_refused(size):
    with pytest.raises(ValueError, match=f"a record of {size} bytes"):
        frame(bytes(size))

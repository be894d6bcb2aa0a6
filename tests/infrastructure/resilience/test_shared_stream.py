"""Equal streams are one stream: everybody sees all of it or a clear error, and nobody waits for the slow."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak.infrastructure.resilience.shared_stream import FellBehind, SharedStreams, StreamLimits
from tiebreak.infrastructure.resilience.single_flight import CallStopped


class Source:
    """Frames come when pushed; `begun` and `closed` count streams."""

    def __init__(self) -> None:
        self.begun = self.closed = self.pulled = 0
        self.frames: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        self.begun += 1
        try:
            while (frame := await self.frames.get()) is not None:
                if isinstance(frame, Exception):
                    raise frame
                self.pulled += 1
                yield frame
        finally:
            self.closed += 1

    def push(self, *frames: bytes | Exception | None) -> None:
        for frame in frames:
            self.frames.put_nowait(frame)


def streams(most_kept: int = 1000, ahead: int = 1000, most: int = 10) -> SharedStreams[str, bytes]:
    return SharedStreams(weigh=len, limits=StreamLimits(most_kept, ahead), most=most)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def read(
    shared: SharedStreams[str, bytes], source: Callable[[], AsyncGenerator[bytes, None]], key: str = "a"
) -> tuple[bool, list[bytes]]:
    async with shared.join(key, source) as frames:
        return frames.led, [frame async for frame in frames]


async def test_followers_replay_what_came_and_then_follow():
    shared, source = streams(), Source()
    first = asyncio.create_task(read(shared, source.stream))
    source.push(b"1", b"2")
    await settle()
    second = asyncio.create_task(read(shared, source.stream))
    await settle()
    source.push(b"3", None)
    assert await first == (True, [b"1", b"2", b"3"])
    assert await second == (False, [b"1", b"2", b"3"])
    await settle()
    assert (source.begun, source.closed, shared.in_flight) == (1, 1, 0)
    source.push(None)
    assert await read(shared, source.stream) == (True, [])


async def test_keys_are_apart():
    shared, one, other = streams(), Source(), Source()
    one.push(b"1", None)
    other.push(b"2", None)
    read_both = await asyncio.gather(read(shared, one.stream, "a"), read(shared, other.stream, "b"))
    assert read_both == [(True, [b"1"]), (True, [b"2"])]


async def test_the_leader_may_leave_and_the_last_one_closes_the_source():
    shared, source = streams(), Source()
    readers = [asyncio.create_task(read(shared, source.stream)) for _ in range(3)]
    source.push(b"1")
    await settle()
    for reader in readers[:2]:
        reader.cancel()
        await settle()
        assert source.closed == 0
    source.push(b"2")
    await settle()
    readers[2].cancel()
    await settle()
    assert (source.begun, source.closed, shared.in_flight) == (1, 1, 0)


async def test_whoever_comes_while_a_left_stream_ends_begins_anew():
    shared, source = streams(), Source()
    reader = asyncio.create_task(read(shared, source.stream))
    await settle()
    reader.cancel()
    await asyncio.wait([reader])
    late = asyncio.create_task(read(shared, source.stream))
    source.push(b"1", None)
    assert await late == (True, [b"1"])
    assert source.begun == 2


async def test_leaving_before_the_source_has_begun_never_calls_it():
    shared, source = streams(), Source()
    async with shared.join("a", source.stream):
        pass
    await settle()
    assert (source.begun, shared.in_flight) == (0, 0)


async def test_a_failure_comes_after_the_frames_before_it_to_each_as_its_own():
    shared, source = streams(), Source()
    source.push(b"1", ConnectionError("cut"))

    async def reader() -> tuple[list[bytes], Exception]:
        seen = []
        async with shared.join("a", source.stream) as frames:
            with pytest.raises(ConnectionError, match="cut") as caught:
                while True:
                    seen.append(await anext(frames))
        return seen, caught.value

    (one, its), (other, others) = await asyncio.gather(reader(), reader())
    assert one == other == [b"1"]
    assert its is not others


async def test_a_single_slow_reader_slows_the_source_down():
    shared, source = streams(most_kept=50, ahead=20), Source()
    source.push(*[b"x" * 10] * 100, None)
    async with shared.join("a", source.stream) as frames:
        await settle()
        assert source.pulled == 2
        for count in range(100):
            assert await anext(frames) == b"x" * 10
            await settle()
            assert source.pulled <= count + 3
            assert frames._stream._kept <= 50 + 20 + 10
        with pytest.raises(StopAsyncIteration):
            await anext(frames)


async def test_a_slow_one_beside_a_fast_one_fails_clearly_and_does_not_stall_it():
    shared, source = streams(most_kept=50, ahead=20), Source()
    slow = shared.join("a", source.stream)
    fast = shared.join("a", source.stream)
    source.push(*[b"x" * 10] * 101, None)
    async with slow, fast:
        await anext(slow)
        assert len([frame async for frame in fast]) == 101
        with pytest.raises(FellBehind, match=r"frame 2 of a shared stream is gone.*more than 50 ahead"):
            await anext(slow)


async def test_one_a_little_slower_still_gets_everything():
    shared, source = streams(most_kept=50, ahead=20), Source()
    source.push(*[bytes([number]) * 10 for number in range(5)], None)
    async with shared.join("a", source.stream) as fast, shared.join("a", source.stream) as slow:
        assert len([frame async for frame in fast]) == 5
        assert [frame[0] async for frame in slow] == [0, 1, 2, 3, 4]


async def test_when_the_fastest_leaves_the_next_one_sets_the_pace():
    shared, source = streams(most_kept=1000, ahead=20), Source()
    source.push(*[b"x" * 10] * 100, None)
    async with shared.join("a", source.stream) as slow:
        async with shared.join("a", source.stream) as fast:
            for _ in range(10):
                await anext(fast)
                await settle()
            assert source.pulled == 12
        await settle()
        for _ in range(10):
            assert source.pulled == 12
            await anext(slow)
        await anext(slow)
        await settle()
        assert source.pulled == 13
        assert len([frame async for frame in slow]) == 89


async def test_who_comes_when_the_beginning_is_gone_begins_a_stream_of_its_own():
    shared, source, later = streams(most_kept=50, ahead=20), Source(), Source()
    async with shared.join("a", source.stream) as first:
        source.push(*[b"x" * 10] * 10)
        for _ in range(10):
            await anext(first)
        later.push(b"1", None)
        assert await read(shared, later.stream) == (True, [b"1"])
        source.push(None)
        with pytest.raises(StopAsyncIteration):
            await anext(first)
    await settle()
    assert (source.begun, later.begun, shared.in_flight) == (1, 1, 0)


async def test_a_frame_larger_than_everything_passes():
    shared, source = streams(most_kept=10, ahead=5), Source()
    source.push(b"x" * 500, b"y" * 500, None)
    assert await read(shared, source.stream) == (True, [b"x" * 500, b"y" * 500])


async def test_empty_frames_are_bounded_too():
    shared, source = streams(most_kept=10, ahead=5), Source()
    source.push(*[b""] * 100, None)
    async with shared.join("a", source.stream) as frames:
        await settle()
        assert source.pulled == 5
        assert len([frame async for frame in frames]) == 100


async def test_beyond_the_bound_streams_are_not_shared():
    shared, source, other = streams(most=1), Source(), Source()
    async with shared.join("a", source.stream):
        other.push(b"1", None, b"2", None)
        assert await read(shared, other.stream, "b") == (True, [b"1"])
        one = shared.join("b", other.stream)
        two = shared.join("b", other.stream)
        async with one, two:
            assert (one.led, two.led) == (True, True)


@pytest.mark.parametrize("started", [False, True])
async def test_closing_stops_the_sources_and_tells_those_who_read(started):
    shared, source = streams(), Source()
    async with shared.join("a", source.stream) as frames:
        if started:
            await settle()
        await shared.close()
        with pytest.raises(CallStopped, match="stopped before its end"):
            await anext(frames)
    assert shared.in_flight == 0
    assert source.begun == source.closed == int(started)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["join", "leave", "read", "push"]), st.integers(0, 9)), max_size=60),
    st.integers(1, 60),
)
def test_in_any_order_each_reader_sees_the_stream_from_its_beginning(steps, most_kept):
    """Frames carry their number: any reader sees 0, 1, 2 ... of one source until it leaves, ends or fell behind."""

    async def live() -> None:
        shared = streams(most_kept, ahead=20)
        sources: list[Source] = []

        def begin() -> AsyncGenerator[bytes, None]:
            sources.append(Source())
            return sources[-1].stream()

        async def next_frame(frames) -> bool:
            try:
                async with asyncio.timeout(0):
                    frame = await anext(frames)
            except (TimeoutError, FellBehind, StopAsyncIteration):
                return False
            assert frame == bytes([frames.position - 1]) * 7
            return True

        readers, pushed = [], {}
        for kind, which in steps:
            if kind == "join":
                readers.append(shared.join("a", begin))
            elif kind == "leave" and readers:
                await readers.pop(which % len(readers)).__aexit__(None, None, None)
            elif kind == "read" and readers:
                await next_frame(readers[which % len(readers)])
            elif kind == "push" and sources:
                source = sources[which % len(sources)]
                number = pushed[id(source)] = pushed.get(id(source), -1) + 1
                source.push(bytes([number]) * 7)
            await settle()
            for stream in shared._pumps:
                assert stream._kept <= most_kept + 20 + 7
        for source in sources:
            source.push(None)
        async with asyncio.timeout(5):
            for reader in readers:
                while await next_frame(reader):
                    await settle()
                await reader.__aexit__(None, None, None)
            await shared.close()
        assert shared.in_flight == 0
        assert all(source.begun == source.closed for source in sources)
        assert not shared._streams

    asyncio.run(live())

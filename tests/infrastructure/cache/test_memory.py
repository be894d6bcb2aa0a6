"""The cache inside one process, against a model of what a cache may do."""

from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clocks import ManualClock

from tiebreak.infrastructure.cache.memory import OVERHEAD, MemoryCache


async def test_a_value_is_there_until_its_time_is_up():
    clock = ManualClock()
    cache = MemoryCache(clock)
    await cache.set("k", b"v", 10)
    clock.advance(9.9)
    assert await cache.get("k") == b"v"
    clock.advance(0.1)
    assert await cache.get("k") is None
    assert (len(cache), cache.size) == (0, 0)


async def test_a_time_of_zero_keeps_nothing_and_forgets_what_was_there():
    cache = MemoryCache(ManualClock())
    await cache.set("k", b"v", 10)
    await cache.set("k", b"w", 0)
    assert await cache.get("k") is None


async def test_the_longest_unused_makes_room():
    cache = MemoryCache(ManualClock(), most_entries=2)
    await cache.set("a", b"1", 10)
    await cache.set("b", b"2", 10)
    await cache.get("a")
    await cache.set("c", b"3", 10)
    assert [await cache.get(key) for key in "abc"] == [b"1", None, b"3"]


async def test_bytes_are_bounded_and_a_value_over_the_bound_is_not_kept():
    cache = MemoryCache(ManualClock(), most_bytes=3 * (OVERHEAD + 11))
    for key in "abcd":
        await cache.set(key, b"x" * 10, 10)
    assert [await cache.get(key) for key in "abcd"] == [None, *[b"x" * 10] * 3]
    await cache.set("a", b"x" * 10_000, 10)
    assert await cache.get("a") is None
    assert len(cache) == 3


async def test_what_is_deleted_is_gone_and_what_never_was_may_be_deleted():
    cache = MemoryCache(ManualClock())
    await cache.set("k", b"v", 10)
    await cache.delete("k")
    await cache.delete("k")
    assert (await cache.get("k"), cache.size) == (None, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from("abcde"), st.binary(max_size=40), st.integers(0, 5)),
        st.tuples(st.just("get"), st.sampled_from("abcde")),
        st.tuples(st.just("delete"), st.sampled_from("abcde")),
        st.tuples(st.just("wait"), st.integers(0, 3)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
async def test_it_does_what_the_model_does(steps):
    clock, model = ManualClock(), OrderedDict()
    cache = MemoryCache(clock, most_entries=3)
    for name, *rest in steps:
        if name == "wait":
            clock.advance(rest[0])
        elif name == "delete":
            await cache.delete(rest[0])
            model.pop(rest[0], None)
        elif name == "set":
            key, value, ttl = rest
            await cache.set(key, value, ttl)
            model.pop(key, None)
            if ttl:
                model[key] = (value, clock.monotonic() + ttl)
            while len(model) > 3:
                model.popitem(last=False)
        else:
            (key,) = rest
            value, until = model.get(key, (None, 0.0))
            if value is not None and until <= clock.monotonic():
                del model[key]
                value = None
            elif value is not None:
                model.move_to_end(key)
            assert await cache.get(key) == value
    assert cache.size == sum(len(key) + len(value) + OVERHEAD for key, (value, _) in model.items())

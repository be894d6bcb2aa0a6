"""Messages between the supervisor and a child."""

import asyncio
import socket

import pytest

from tiebreak.errors import Unavailable
from tiebreak.infrastructure.telemetry.metrics import Reading
from tiebreak.supervisor import control
from tiebreak.supervisor.control import (
    MOST_SCRAPES,
    Channel,
    Cover,
    Exposition,
    Leaving,
    Line,
    Ready,
    Report,
    Scrape,
    line,
)


async def ends() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return await Channel.open(ours), await Channel.open(theirs)


async def test_every_message_arrives_as_it_was_sent_and_then_the_end():
    ours, theirs = await ends()
    sent = [
        Ready(),
        Report([Reading("a", ("b",), 1.5), Reading("c", (), 2.0, (1, 0))]),
        Scrape(7),
        Exposition(7, "x" * 300_000),
        Cover([0, 2]),
        Leaving(),
    ]
    for message in sent:
        assert ours.send(message)
    ours.close()
    async with asyncio.timeout(10):
        assert [message async for message in theirs.messages()] == sent
    theirs.close()


async def test_what_the_other_side_does_not_take_is_dropped_and_not_kept():
    ours, theirs = await ends()
    big = Exposition(1, "x" * 500_000)
    assert not all(ours.send(big) for _ in range(50))
    ours.close()
    theirs.close()
    assert not ours.send(Ready())


async def test_a_scrape_gets_the_answer_to_its_own_question():
    ours, theirs = socket.socketpair()
    supervisor = await Channel.open(ours)

    async def answer() -> None:
        asked = [message.number async for message in first(supervisor, 2) if isinstance(message, Scrape)]
        for number in reversed(asked):
            supervisor.send(Exposition(number, f"answer {number}"))

    answering = asyncio.create_task(answer())
    async with asyncio.timeout(10), line(theirs.detach()) as child:
        assert await asyncio.gather(child.scrape(), child.scrape()) == ["answer 1", "answer 2"]
    await answering
    supervisor.close()


async def first(channel: Channel, count: int):
    async for message in channel.messages():
        yield message
        count -= 1
        if count == 0:
            return


async def test_a_supervisor_that_does_not_answer_is_an_error_with_a_remedy():
    ours, theirs = socket.socketpair()
    async with line(theirs.detach()) as child:
        waiting = [asyncio.create_task(child.scrape()) for _ in range(MOST_SCRAPES)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="scrapes are being answered"):
            await child.scrape()
        async with asyncio.timeout(control.ANSWER_WITHIN + 10):
            for ended in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(ended, Unavailable)
                assert "did not answer within" in ended.detail
    ours.close()


async def test_a_child_hears_what_to_accept():
    heard: list[list[int]] = []
    done = asyncio.Event()

    async def cover(slots: list[int]) -> None:
        heard.append(slots)
        done.set()

    ours, theirs = socket.socketpair()
    supervisor = await Channel.open(ours)
    async with asyncio.timeout(10), line(theirs.detach(), cover) as child:
        assert isinstance(child, Line)
        supervisor.send(Cover([1, 2]))
        await done.wait()
    supervisor.close()
    assert heard == [[1, 2]]

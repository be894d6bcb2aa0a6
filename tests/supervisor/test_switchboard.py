"""The supervisor's end: who accepts from which socket, and the metrics of all."""

import asyncio
import socket
import sys
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import Metrics
from tiebreak.supervisor.children import Child
from tiebreak.supervisor.control import Channel, Cover, Exposition, Leaving, Message, Ready, Report, Scrape
from tiebreak.supervisor.switchboard import Switchboard, coverage


@pytest.mark.parametrize(
    ("serving", "expected"),
    [
        ([], {}),
        ([0], {0: [0, 1, 2]}),
        ([2, 0], {0: [0, 1], 2: [1, 2]}),
        ([0, 1, 2], {0: [0], 1: [1], 2: [2]}),
    ],
)
def test_a_socket_that_nobody_serves_is_accepted_from_by_all_others(serving, expected):
    assert coverage(serving, 3) == expected


@given(st.sets(st.integers(0, 7), min_size=1))
def test_whoever_serves_no_socket_is_left_alone(serving):
    spread = coverage(sorted(serving), 8)
    assert set().union(*spread.values()) == set(range(8))
    assert all(slot in covers for slot, covers in spread.items())


class Worker:
    """A child's end of a channel, with what it heard."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.messages = channel.messages()

    async def next(self) -> Message:
        async with asyncio.timeout(10):
            return await anext(self.messages)


@asynccontextmanager
async def attended(board: Switchboard, process: str, slot: int | None):
    ours, theirs = socket.socketpair()
    child = Child(process, [sys.executable], [], attend=lambda *_: asyncio.sleep(0))
    attending = asyncio.create_task(board.attend(child, ours, process, slot))
    worker = Worker(await Channel.open(theirs))
    try:
        yield worker
    finally:
        worker.channel.close()
        async with asyncio.timeout(10):
            await attending


async def test_the_first_that_answers_takes_all_sockets_and_gives_back_what_others_serve():
    board = Switchboard(2)
    async with attended(board, "requests-0", 0) as first:
        first.channel.send(Ready())
        assert await first.next() == Cover([0, 1])
        async with attended(board, "requests-1", 1) as second:
            second.channel.send(Ready())
            assert await second.next() == Cover([1])
            assert await first.next() == Cover([0])
            second.channel.send(Leaving())
            assert await first.next() == Cover([0, 1])
        async with attended(board, "requests-1", 1) as third:
            third.channel.send(Ready())
            assert await first.next() == Cover([0])
        assert await first.next() == Cover([0, 1])


async def test_a_scrape_holds_the_counts_of_the_living_and_of_the_dead():
    board = Switchboard(2)
    series = 'tiebreak_requests_total{surface="management",status="2xx"}'

    def report(count: int) -> Report:
        metrics = Metrics(instruments.ALL)
        metrics.number(instruments.REQUESTS, "management", "2xx").add(count)
        metrics.number(instruments.REQUESTS_IN_FLIGHT, "management").add(count)
        return Report(metrics.snapshot())

    async with attended(board, "requests-0", 0) as first:
        for count in (3, 4):
            async with attended(board, "requests-1", 1) as passing:
                passing.channel.send(report(count))
        first.channel.send(report(10))
        first.channel.send(Scrape(5))
        answer = await first.next()
    assert isinstance(answer, Exposition)
    assert answer.number == 5
    lines = answer.text.splitlines()
    assert f"{series} 17" in lines
    assert 'tiebreak_requests_in_flight{surface="management"} 10' in lines


async def test_after_a_hundred_replacements_a_scrape_is_as_long_as_before():
    board = Switchboard(1)
    lengths = []
    for _ in range(100):
        async with attended(board, "requests-0", 0) as worker:
            metrics = Metrics(instruments.ALL)
            metrics.number(instruments.PROCESS_RSS, "requests-0").set(1)
            metrics.histogram(instruments.LOOP_LAG, "requests-0").observe(0.001)
            worker.channel.send(Report(metrics.snapshot()))
            worker.channel.send(Scrape(1))
            answer = await worker.next()
            assert isinstance(answer, Exposition)
            lengths.append(answer.text.count("\n"))
    assert set(lengths) == {lengths[0]}

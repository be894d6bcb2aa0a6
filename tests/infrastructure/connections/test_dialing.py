"""From names to sockets: families in turn, a head start, and no address that is refused."""

import asyncio
import socket
import time
from contextlib import closing, contextmanager

import pytest

from tiebreak.infrastructure.connections.dialing import dial, interleaved, is_address, system_lookup
from tiebreak.infrastructure.connections.http import AddressRefused, ConnectFailed


@contextmanager
def listening(host: str = "127.0.0.1", port: int = 0):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(8)
        yield server.getsockname()[1]


@contextmanager
def blackhole(host: str, port: int):
    """An address whose connections are neither taken nor refused."""
    with socket.socket() as server:
        server.bind((host, port))
        server.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield
        for filler in fillers:
            filler.close()


def answers(*addresses: str):
    async def lookup(host: str, port: int) -> list[str]:
        return list(addresses)

    return lookup


def test_families_take_turns_and_the_first_stays_first():
    assert interleaved(["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]) == [
        "::1",
        "10.0.0.1",
        "::2",
        "10.0.0.2",
        "::3",
    ]
    assert interleaved(["10.0.0.1", "::1"]) == ["10.0.0.1", "::1"]
    assert len(interleaved([f"10.0.0.{last}" for last in range(200)])) == 16


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", False), ("127.1", False)]
)
def test_only_plain_addresses_need_no_lookup(host, expected):
    assert is_address(host) is expected


async def test_the_system_resolves_this_machine():
    assert set(await system_lookup("localhost", 80)) <= {"127.0.0.1", "::1"}


async def test_small_writes_are_sent_at_once():
    with listening() as port, closing(await dial("127.0.0.1", port, "loopback", system_lookup)) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getpeername() == ("127.0.0.1", port)


async def test_an_address_that_hangs_costs_its_head_start_only():
    with listening("127.0.0.2") as port, blackhole("127.0.0.1", port):
        began = time.monotonic()
        found = await asyncio.wait_for(
            dial("vendor.example", port, "loopback", answers("127.0.0.1", "127.0.0.2")), 5
        )
        with closing(found):
            assert found.getpeername()[0] == "127.0.0.2"
            assert 0.25 <= time.monotonic() - began < 2.0


async def test_an_address_that_refuses_costs_nothing():
    with listening("127.0.0.2") as port:
        began = time.monotonic()
        with closing(
            await dial("vendor.example", port, "loopback", answers("127.0.0.1", "127.0.0.2"))
        ) as found:
            assert found.getpeername()[0] == "127.0.0.2"
        assert time.monotonic() - began < 0.25


async def test_when_every_address_fails_the_last_reason_is_told():
    with listening() as port:
        pass
    with pytest.raises(ConnectFailed, match=rf"vendor\.example:{port}: .*refused"):
        await dial("vendor.example", port, "loopback", answers("127.0.0.1", "127.0.0.2"))


async def test_a_race_that_is_left_leaves_nothing_open():
    with listening("127.0.0.2") as port, blackhole("127.0.0.1", port), blackhole("127.0.0.3", port):
        race = asyncio.create_task(
            dial("vendor.example", port, "loopback", answers("127.0.0.1", "127.0.0.3"))
        )
        await asyncio.sleep(0.3)
        race.cancel()
        with pytest.raises(asyncio.CancelledError):
            await race
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_refused_address_is_not_tried_whatever_stands_beside_it():
    with listening() as port, pytest.raises(AddressRefused, match=r"169\.254\.169\.254"):
        await dial("vendor.example", port, "public", answers("169.254.169.254", "127.0.0.1"))
    with pytest.raises(AddressRefused):
        await dial("127.0.0.1", port, "public", system_lookup)


async def test_a_name_that_cannot_be_written_is_a_failed_connection():
    with pytest.raises(ConnectFailed):
        await dial("a" * 300 + ".example", 80, "loopback", system_lookup)

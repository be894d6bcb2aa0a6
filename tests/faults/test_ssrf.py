"""Row S4 and U11: no connection reaches an address that the setting does not allow, however the URL is written."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.clients import ClientType, both_clients
from tests.upstream import Upstream, http, upstream

from tiebreak.infrastructure.connections.http import (
    AddressRefused,
    ConnectFailed,
    HttpClient,
    HttpRequest,
    Outbound,
    Route,
)

pytestmark = both_clients


@asynccontextmanager
async def client(
    client_type: ClientType, outbound: Outbound, answers: list[list[str]] | None = None
) -> AsyncIterator[HttpClient]:
    """A client; with `answers`, its names resolve to these in turn, the last one for ever."""
    given = list(answers or [])

    async def lookup(host: str, port: int) -> list[str]:
        return given.pop(0) if len(given) > 1 else given[0]

    opened = client_type(outbound, lookup=lookup) if answers else client_type(outbound)
    try:
        yield opened
    finally:
        await opened.close()


async def fetch(opened: HttpClient, url: str) -> bytes:
    async with asyncio.timeout(10), opened.send(HttpRequest("GET", url, {})) as response:
        return await response.read()


@asynccontextmanager
async def everywhere() -> AsyncIterator[Upstream]:
    """A server on every IPv4 and IPv6 address of this machine, so that any way to it would count."""
    async with upstream(http(b"reached"), host="::") as server:
        yield server


WAYS_TO_THIS_MACHINE = [
    "http://127.0.0.1:{port}/",
    "http://127.8.9.10:{port}/",
    "http://localhost:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::]:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://user:pass@127.0.0.1:{port}/",
    "http://example.org@127.0.0.1:{port}/",
    "http://1２7.0.0.1:{port}/",
]


@pytest.mark.parametrize("url", WAYS_TO_THIS_MACHINE)
async def test_no_way_of_writing_this_machine_gets_past_the_public_setting(client_type, url):
    async with everywhere() as server, client(client_type, "public") as opened:
        with pytest.raises((AddressRefused, ConnectFailed)):
            await fetch(opened, url.format(port=server.port))
        assert server.connections == 0


ELSEWHERE = {
    "loopback": ["10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1", "[fd00::1]", "[::ffff:10.0.0.1]"],
    "private": [],
}
NEVER = [
    "169.254.169.254",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "0.0.0.0",
    "[::]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "224.0.0.1",
    "255.255.255.255",
]


@pytest.mark.parametrize(
    ("outbound", "host"), [(setting, host) for setting, more in ELSEWHERE.items() for host in NEVER + more]
)
async def test_other_addresses_are_refused_before_a_socket_is_connected(client_type, outbound, host):
    # The suite's own guard would turn an attempt to connect into another error.
    async with client(client_type, outbound) as opened:
        with pytest.raises(AddressRefused):
            await fetch(opened, f"http://{host}:8/")


@pytest.mark.parametrize("outbound", ["loopback", "private"])
async def test_this_machine_is_reached_where_the_setting_allows_it(client_type, outbound):
    async with everywhere() as server, client(client_type, outbound) as opened:
        urls = ["http://127.0.0.1:{port}/", "http://localhost:{port}/"]
        if socket.has_dualstack_ipv6():
            urls.append("http://[::1]:{port}/")
        for url in urls:
            assert await fetch(opened, url.format(port=server.port)) == b"reached"


async def test_a_name_is_judged_by_what_it_resolves_to(client_type):
    async with everywhere() as server, client(client_type, "public", [["127.0.0.1"]]) as opened:
        with pytest.raises(AddressRefused, match=r"innocent\.example resolves to .*127\.0\.0\.1"):
            await fetch(opened, f"http://innocent.example:{server.port}/")
        assert server.connections == 0


async def test_a_name_that_resolves_differently_the_second_time_gains_nothing(client_type):
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    async with everywhere() as server, client(client_type, "loopback", answers) as opened:
        assert await fetch(opened, f"http://rebound.example:{server.port}/") == b"reached"
        await opened.close()  # neither a kept connection nor a kept name
        with pytest.raises(AddressRefused, match=r"169\.254\.169\.254"):
            await fetch(opened, f"http://rebound.example:{server.port}/")
        assert server.connections == 1


async def test_of_many_addresses_only_the_allowed_are_connected_to(client_type):
    answers = [["169.254.169.254", "fe80::1", "127.0.0.1"]]
    async with everywhere() as server, client(client_type, "loopback", answers) as opened:
        assert await fetch(opened, f"http://mixed.example:{server.port}/") == b"reached"


async def test_a_proxy_is_judged_by_what_its_name_resolves_to(client_type):
    async with everywhere() as server, client(client_type, "public", [["127.0.0.1"]]) as opened:
        route = Route(proxy=f"http://proxy.example:{server.port}")
        with pytest.raises(AddressRefused, match=r"127\.0\.0\.1"):
            async with opened.send(HttpRequest("GET", "https://vendor.example/", {}, route=route)):
                pass
        assert server.connections == 0


async def test_u11_a_redirect_to_the_metadata_address_is_not_followed(client_type):
    async with (
        everywhere() as metadata,
        upstream(http(b"", 307, location=f"http://127.0.0.1:{metadata.port}/latest")) as server,
        client(client_type, "loopback") as opened,
    ):
        async with opened.send(HttpRequest("POST", server.url, {}, b"{}")) as response:
            assert response.status == 307
        assert metadata.connections == 0

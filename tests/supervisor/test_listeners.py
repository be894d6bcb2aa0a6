"""Sockets on one port, one a worker, and no other server's."""

import collections
import selectors
import socket

import pytest

from tiebreak.errors import Conflict, InvalidInput
from tiebreak.supervisor.listeners import address_of, exposed, listen, url_of


def test_listens_on_a_free_port_and_tells_it():
    with listen("127.0.0.1", 0) as [listener]:
        port = listener.getsockname()[1]
        assert port > 0
        assert url_of(listener) == f"http://127.0.0.1:{port}"
    assert address_of("localhost") == "127.0.0.1"


def test_listens_on_the_other_loopback():
    with listen("::1", 0) as [listener]:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_loopback_is_not_exposed(host):
    assert not exposed(address_of(host))
    assert not exposed(address_of("localhost"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "127.0.0.2"])
def test_any_other_address_is_exposed(host):
    assert exposed(address_of(host))


@pytest.mark.parametrize("host", ["example.com", "", "127.0.0", "*"])
def test_what_is_no_address_is_refused_with_what_to_write(host):
    with pytest.raises(InvalidInput, match=r"0\.0\.0\.0 for all networks") as refused:
        address_of(host)
    assert repr(host) in refused.value.detail


@pytest.mark.parametrize(("host", "opened"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
def test_a_server_on_every_network_is_opened_by_loopback(host, opened):
    with listen(host, 0) as [listener]:
        assert url_of(listener) == f"http://{opened}:{listener.getsockname()[1]}"


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} of 127.0.0.1 is taken"):
            listen("127.0.0.1", port).__enter__()


def test_a_port_that_shares_its_sockets_is_taken_for_everybody_else():
    with listen("127.0.0.1", 0, 2) as listeners:
        port = listeners[0].getsockname()[1]
        assert {one.getsockname()[1] for one in listeners} == {port}
        with pytest.raises(Conflict, match=f"port {port} of 127.0.0.1 is taken"):
            listen("127.0.0.1", port, 2).__enter__()
    with listen("127.0.0.1", port, 2):
        pass  # closed with the block


def test_new_connections_are_spread_over_the_sockets():
    with listen("127.0.0.1", 0, 2) as listeners, selectors.DefaultSelector() as selector:
        for slot, one in enumerate(listeners):
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ, slot)
        address = listeners[0].getsockname()
        clients = [socket.create_connection(address, timeout=10) for _ in range(256)]
        accepted: collections.Counter[int] = collections.Counter()
        while accepted.total() < 256:
            ready = selector.select(10)
            assert ready, f"only {accepted} came"
            for key, _ in ready:
                listeners[key.data].accept()[0].close()
                accepted[key.data] += 1
        for client in clients:
            client.close()
    assert min(accepted[0], accepted[1]) > 80  # 128 each in the mean; below 80 once in 10^9 runs


def test_connections_wait_in_a_socket_whose_worker_is_gone():
    with listen("127.0.0.1", 0) as [listener]:
        with listener.dup():
            client = socket.create_connection(listener.getsockname(), timeout=10)
            client.sendall(b"still here")
        listener.settimeout(10)
        served, _ = listener.accept()
        served.settimeout(10)
        assert served.recv(100) == b"still here"
        served.close()
        client.close()

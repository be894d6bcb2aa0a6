"""The parent of `serve`: it listens on loopback, keeps two children, and takes them along."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest
from tests.serving import alive, environment, serving, until

from tiebreak.errors import Conflict, InvalidInput
from tiebreak.supervisor import (
    Announcement,
    Child,
    address_of,
    exposed,
    instance_at,
    listen,
    restart_delay,
    url_of,
)


def test_listens_on_a_free_port_and_tells_it():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        assert url_of(listener) == f"http://127.0.0.1:{port}"
    assert address_of("localhost") == "127.0.0.1"


def test_listens_on_the_other_loopback():
    with listen("::1", 0) as listener:
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
    with listen(host, 0) as listener:
        assert url_of(listener) == f"http://{opened}:{listener.getsockname()[1]}"


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} of 127.0.0.1 is taken"):
            listen("127.0.0.1", port)


def test_restarts_wait_longer_and_longer_up_to_a_bound():
    delays = [restart_delay(failures) for failures in range(12)]
    assert delays[:4] == [0.0, 0.1, 0.2, 0.4]
    assert delays == sorted(delays)
    assert max(delays) == 5.0


def test_an_announcement_is_readable_by_its_owner_only_and_comes_back(tmp_path):
    announcement = Announcement("http://127.0.0.1:8321", 4711, "one")
    announcement.write(tmp_path)
    assert Announcement.read(tmp_path) == announcement
    assert stat.S_IMODE((tmp_path / "server.json").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["server.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"url": "x"}', '{"url": "x", "pid": "y", "instance": "z"}']
)
def test_a_broken_announcement_counts_as_none(tmp_path, text):
    (tmp_path / "server.json").write_text(text)
    assert Announcement.read(tmp_path) is None
    assert Announcement.read(tmp_path / "nowhere") is None


def test_only_ones_own_announcement_is_withdrawn(tmp_path):
    first, second = Announcement("http://a", 1, "one"), Announcement("http://b", 2, "two")
    second.write(tmp_path)
    first.withdraw(tmp_path)
    assert Announcement.read(tmp_path) == second
    second.withdraw(tmp_path)
    assert Announcement.read(tmp_path) is None


def test_what_is_no_server_of_ours_has_no_instance():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert instance_at(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2) is None
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert instance_at(f"http://127.0.0.1:{port}") is None


def test_serves_with_two_children_and_leaves_nothing_on_sigterm(tmp_path, dsn):
    with serving(tmp_path, dsn) as server:
        status, health = server.get("/health")
        announced = Announcement.read(tmp_path)
        assert status == 200
        assert announced == Announcement(server.url, server.process.pid, health["instance"])
        until(lambda: set(server.children()) == {"requests", "background"}, "two children")
        children = server.children()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert not any(alive(pid) for pid in children.values())
        assert Announcement.read(tmp_path) is None


def test_ctrl_c_ends_it_the_same_way(tmp_path, dsn):
    with serving(tmp_path, dsn) as server:
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(30) == 0


@pytest.mark.parametrize("which", ["requests", "background"])
def test_a_killed_child_is_started_again(tmp_path, dsn, which):
    with serving(tmp_path, dsn) as server:
        until(lambda: set(server.children()) == {"requests", "background"}, "two children")
        before = server.children()
        os.kill(before[which], signal.SIGKILL)
        until(lambda: server.children().get(which, before[which]) != before[which], "a new child")
        # Requests wait in the socket's queue meanwhile; none is refused.
        assert server.get("/health")[0] == 200
        other = ({"requests", "background"} - {which}).pop()
        assert server.children()[other] == before[other]


def test_children_do_not_outlive_a_killed_supervisor(tmp_path, dsn):
    with serving(tmp_path, dsn) as server:
        until(lambda: set(server.children()) == {"requests", "background"}, "two children")
        children = server.children().values()
        server.process.kill()
        server.process.wait(10)
        until(lambda: not any(alive(pid) for pid in children), "the children left")
        # What it left behind does not count, and the next one starts.
        assert Announcement.read(tmp_path) is not None
        assert instance_at(server.url) is None
    with serving(tmp_path, dsn) as server:
        assert server.get("/health")[0] == 200


def test_a_request_in_progress_is_answered_before_it_leaves(tmp_path, dsn):
    with serving(tmp_path, dsn) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            body = b'{"name": "p", "template": "hello"}'
            head = (
                f"POST /api/v1/prompts HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body[:10])
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(body[10:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 201")
        assert server.process.wait(30) == 0


def test_a_second_server_on_the_data_folder_is_told_where_the_first_is(tmp_path, dsn):
    with serving(tmp_path, dsn) as server:
        second = subprocess.run(
            [sys.executable, "-m", "tiebreak", "serve", "--port", "0"],
            env=environment(tmp_path, dsn),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 2
        assert server.url in second.stderr
        assert str(tmp_path) in second.stderr


def test_an_error_at_start_is_one_line_and_no_server(tmp_path):
    failed = subprocess.run(
        [sys.executable, "-m", "tiebreak", "serve", "--port", "0"],
        env=environment(tmp_path, f"postgresql://nobody@/none?host={tmp_path}"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert failed.returncode == 3
    assert failed.stdout == ""
    assert "Traceback" not in failed.stderr
    assert "the database" in failed.stderr


def child(code: str) -> Child:
    return Child("child", [sys.executable, "-c", code], [])


async def test_a_child_that_does_not_listen_is_killed_after_its_grace(tmp_path):
    mark = tmp_path / "deaf"
    deaf = child(
        f"import pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(mark)!r}).touch()\ntime.sleep(600)"
    )
    running = deaf.start()
    await asyncio.to_thread(until, mark.exists, "the child is deaf")
    async with asyncio.timeout(30):
        await deaf.stop(0.3)
    assert running.done()


@pytest.mark.parametrize(("code", "result"), [(2, 2), (3, 3), (1, 3)])
async def test_a_child_that_never_works_is_given_up_with_a_code(code, result):
    broken = child(f"raise SystemExit({code})")
    async with asyncio.timeout(60):
        assert await broken.start() == result


async def test_a_child_that_worked_once_is_never_given_up(tmp_path):
    log = tmp_path / "starts"
    broken = child(f"open({str(log)!r}, 'a').write('x')\nraise SystemExit(3)")
    broken.proven = True
    running = broken.start()
    await asyncio.to_thread(until, lambda: log.exists() and log.stat().st_size > 2, "started again")
    assert not running.done()
    async with asyncio.timeout(30):
        await broken.stop(5)
    assert await running == 0


async def test_stopping_what_never_started_is_no_error():
    await child("pass").stop(1)


def test_it_can_be_stopped_while_it_is_starting(tmp_path):
    """The database accepts and says nothing; SIGTERM is obeyed all the same."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = subprocess.Popen(
            [sys.executable, "-m", "tiebreak", "serve", "--port", "0"],
            env=environment(tmp_path, f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/x"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        silent.settimeout(60)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGTERM)
        try:
            said, _ = process.communicate(timeout=40)
        finally:
            process.kill()
            connection.close()
    assert process.returncode == 0
    assert said == b""

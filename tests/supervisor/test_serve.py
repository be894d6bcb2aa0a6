"""`serve`: it starts its children, keeps them, and takes them along."""

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time

import pytest
from tests.serving import alive, environment, serving, until

from tiebreak.supervisor.announcement import Announcement, instance_at


def test_serves_with_two_children_and_leaves_nothing_on_sigterm(tmp_path, dsn):
    with serving(tmp_path, dsn) as server:
        status, health = server.get("/health")
        announced = Announcement.read(tmp_path)
        assert status == 200
        assert announced == Announcement(server.url, server.process.pid, health["instance"])
        until(lambda: set(server.children()) == {"requests-0", "background"}, "two children")
        children = server.children()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert not any(alive(pid) for pid in children.values())
        assert Announcement.read(tmp_path) is None


def test_ctrl_c_ends_it_the_same_way(tmp_path, dsn):
    with serving(tmp_path, dsn) as server:
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(30) == 0


@pytest.mark.parametrize("which", ["requests-0", "background"])
def test_a_killed_child_is_started_again(tmp_path, dsn, which):
    with serving(tmp_path, dsn) as server:
        until(lambda: set(server.children()) == {"requests-0", "background"}, "two children")
        before = server.children()
        os.kill(before[which], signal.SIGKILL)
        until(lambda: server.children().get(which, before[which]) != before[which], "a new child")
        # Requests wait in the socket's queue meanwhile; none is refused.
        assert server.get("/health")[0] == 200
        other = ({"requests-0", "background"} - {which}).pop()
        assert server.children()[other] == before[other]


def test_children_do_not_outlive_a_killed_supervisor(tmp_path, dsn):
    with serving(tmp_path, dsn) as server:
        until(lambda: set(server.children()) == {"requests-0", "background"}, "two children")
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


def test_the_end_of_its_terminal_ends_it(tmp_path, dsn):
    """SIGHUP means a restart of the workers only where no terminal can have sent it."""
    terminal, inside = pty.openpty()
    with (
        os.fdopen(terminal, "rb"),
        os.fdopen(inside, "rb") as controlling,
        subprocess.Popen(
            [sys.executable, "-m", "tiebreak", "serve", "--port", "0"],
            env=environment(tmp_path, dsn),
            stdin=controlling,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        ) as process,
    ):
        assert process.stdout is not None
        try:
            assert "Tiebreak on http://" in process.stdout.readline()
            process.send_signal(signal.SIGHUP)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_several_workers_share_a_port_and_say_when_all_answer(tmp_path, dsn):
    said = tmp_path / "said"
    with said.open("w") as errors, serving(tmp_path, dsn, "--workers", "2", stderr=errors) as server:
        until(lambda: "all 2 request workers answer" in said.read_text(), "it says so")
        assert set(server.children()) == {"requests-0", "requests-1", "background"}
        assert server.get("/health")[0] == 200


@pytest.mark.parametrize("workers", ["0", "65", "many"])
def test_a_number_of_workers_that_cannot_be_is_refused(workers):
    refused = subprocess.run(
        [sys.executable, "-m", "tiebreak", "serve", "--workers", workers],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2
    assert workers in refused.stderr

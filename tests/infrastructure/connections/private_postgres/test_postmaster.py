"""The server's options, and how its state is read."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tiebreak.infrastructure.connections.private_postgres import postmaster
from tiebreak.infrastructure.connections.private_postgres.cluster import initdb_options
from tiebreak.infrastructure.connections.private_postgres.guardian import bound_log
from tiebreak.infrastructure.connections.private_postgres.order import Binaries, Order

SMALL = 64 * 1024 * 1024
LARGE = 128 * 1024 * 1024


def test_parallel_workers_are_off_where_shared_memory_is_small():
    small = postmaster.options(sockets=Path("/s"), fsync=True, shm_bytes=SMALL)
    large = postmaster.options(sockets=Path("/s"), fsync=True, shm_bytes=LARGE)
    assert small["max_parallel_workers_per_gather"] == "0"
    assert "max_parallel_workers_per_gather" not in large
    assert small["listen_addresses"] == large["listen_addresses"] == ""


def test_safety_is_given_up_only_when_asked():
    assert "fsync" not in postmaster.options(sockets=Path("/s"), fsync=True, shm_bytes=LARGE)
    assert postmaster.options(sockets=Path("/s"), fsync=False, shm_bytes=LARGE)["fsync"] == "off"


def test_the_size_of_shared_memory_is_asked_of_the_machine():
    assert postmaster.shm_bytes() == int(
        subprocess.check_output(["df", "-B1", "--output=size", "/dev/shm"]).split()[1]
    )


def test_clusters_sort_the_same_everywhere_from_17_on():
    assert "--builtin-locale=C.UTF-8" in initdb_options(17)
    assert "--builtin-locale=C.UTF-8" not in initdb_options(16)
    assert all("--data-checksums" in initdb_options(major) for major in (15, 18))


READY = "1\n/d\n0\n5432\n/s\n\n1 2\nready   \n"


@pytest.mark.parametrize("text", ["", "1\n/d\n", READY.replace("ready", "starting"), READY])
def test_a_server_that_does_not_say_ready_or_does_not_listen_does_not_accept(tmp_path: Path, text: str):
    (tmp_path / "postmaster.pid").write_text(text)
    assert not postmaster.accepts(tmp_path, tmp_path / "socket")


@pytest.mark.parametrize(("reply", "accepts"), [(b"N", True), (b"", False), (b"E", False)])
def test_a_server_accepts_when_it_answers_as_one(tmp_path: Path, reply: bytes, accepts: bool):
    (tmp_path / "postmaster.pid").write_text(READY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        answering = threading.Thread(target=_reply_once, args=(listener, reply))
        answering.start()
        assert postmaster.accepts(tmp_path, tmp_path / "socket") is accepts
        answering.join(timeout=5)


def _reply_once(listener: socket.socket, reply: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(8)
        connection.sendall(reply)


def test_a_folder_without_a_server_does_not_accept(tmp_path: Path):
    assert not postmaster.accepts(tmp_path, tmp_path / "socket")


def test_a_stranger_in_the_folder_is_not_a_server_process(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=tmp_path, stdin=subprocess.PIPE) as stranger:
        assert postmaster.processes_in(tmp_path) == []
        stranger.communicate()


def test_remains_that_ignore_being_asked_are_ended_with_force(tmp_path: Path):
    program = tmp_path / "postgres"
    program.symlink_to(sys.executable)
    ignoring = (
        "import signal; signal.signal(signal.SIGQUIT, signal.SIG_IGN); print(flush=True); signal.pause()"
    )
    environment = {"PYTHONHOME": sys.base_prefix}
    with subprocess.Popen(
        [program, "-S", "-c", ignoring], cwd=tmp_path, stdout=subprocess.PIPE, env=environment
    ) as orphan:
        assert orphan.stdout is not None
        orphan.stdout.readline()
        assert postmaster.processes_in(tmp_path) == [orphan.pid]
        reaper = threading.Thread(target=orphan.wait, args=(60,))
        reaper.start()
        postmaster.clear_remains(tmp_path, tmp_path / "socket")
        reaper.join(timeout=10)
        assert orphan.returncode == -9


def test_the_log_keeps_one_older_part_and_its_writer(tmp_path: Path):
    log = tmp_path / "postgres.log"
    bound_log(log, 10)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, b"0123456789")
        bound_log(log, 10)
        assert log.read_bytes() == b"0123456789"
        os.write(descriptor, b"!")
        bound_log(log, 10)
        os.write(descriptor, b"new")
        assert log.read_bytes() == b"new"
        assert (tmp_path / "postgres.log.1").read_bytes() == b"0123456789!"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("libraries", [None, Path("/l")])
def test_an_order_survives_the_command_line(libraries: Path | None):
    order = Order(Path("/h ü\udcff"), Binaries(Path("/b"), 18, "18.4", libraries), fsync=False)
    assert Order.from_json(order.to_json()) == order
    assert order.to_json().isascii()

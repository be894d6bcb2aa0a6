"""Locks on files."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiebreak.infrastructure.connections.private_postgres.locks import FileLock


def test_many_share_and_one_is_alone(tmp_path: Path):
    with FileLock(tmp_path / "l") as first, FileLock(tmp_path / "l") as second:
        assert first.try_shared()
        assert second.try_shared()
        assert not second.try_exclusive()
        first.close()
        assert second.try_exclusive()


def test_a_wait_ends_at_its_deadline(tmp_path: Path):
    with FileLock(tmp_path / "l") as holder, FileLock(tmp_path / "l") as waiter:
        assert holder.try_exclusive()
        assert not waiter.shared(time.monotonic() + 0.05)
        assert not waiter.exclusive(time.monotonic() + 0.05)
        holder.close()
        assert waiter.exclusive(time.monotonic() + 5)


def test_the_note_of_a_lock_is_replaced(tmp_path: Path):
    with FileLock(tmp_path / "l") as lock:
        lock.write("long note")
        lock.write("note")
        assert (tmp_path / "l").read_text() == "note"


def test_a_program_that_outlives_us_does_not_hold_our_locks(tmp_path: Path):
    lock = FileLock(tmp_path / "l")
    assert lock.try_exclusive()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
    ) as program:
        lock.close()
        with FileLock(tmp_path / "l") as next_one:
            # The kernel closes our descriptors in the child a moment after the start returns.
            assert next_one.exclusive(time.monotonic() + 5)
        program.communicate(b"\n")


def test_a_closed_lock_cannot_be_taken(tmp_path: Path):
    lock = FileLock(tmp_path / "l")
    lock.close()
    lock.close()
    with pytest.raises(ValueError, match="is closed"):
        lock.try_shared()

"""The folders of the spool: whose they are, where they may lie, and reading them."""

import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import UUID

import pytest

from tiebreak.errors import Misconfigured
from tiebreak.observations import segments
from tiebreak.observations.records import MARK, MAX_PAYLOAD, Tail, frame

WORKER = UUID(int=5)


def test_a_folder_belongs_to_its_user_alone_and_lives_as_long_as_its_holder(tmp_path):
    root = tmp_path / "home" / "spool"
    lock = segments.make_folder(root, WORKER)
    folder = root / str(WORKER)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert segments.folders(root) == [(WORKER, folder)]
    assert segments.owner_lives(folder)
    assert segments.orphans(root) == []
    lock.close()
    assert segments.orphans(root) == [WORKER]


def test_the_kernel_says_that_a_killed_worker_is_dead(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from uuid import UUID; "
        "from tiebreak.observations.segments import make_folder; "
        "lock = make_folder(Path(sys.argv[1]), UUID(int=5)); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == b"held\n"
        assert segments.orphans(tmp_path) == []
        holder.kill()
        holder.wait(timeout=10)
    assert segments.orphans(tmp_path) == [WORKER]


def test_a_folder_in_memory_is_refused_with_the_remedy():
    memory = Path("/dev/shm")
    if segments.filesystem(memory) != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    with tempfile.TemporaryDirectory(dir=memory) as home:
        with pytest.raises(Misconfigured, match=r"lie in memory \(tmpfs\).*TIEBREAK_HOME"):
            segments.make_folder(Path(home) / "spool", WORKER)
        assert not (Path(home) / "spool" / str(WORKER)).exists()


def test_a_folder_that_cannot_be_made_is_named_with_the_reason(tmp_path):
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(Misconfigured, match="cannot be made"):
        segments.make_folder(tmp_path / "spool", WORKER)


def test_segments_are_listed_in_the_order_in_which_they_were_begun(tmp_path):
    for number in (10, 2, 1_000_000):
        segments.segment_path(tmp_path, number).write_bytes(MARK)
    (tmp_path / "notes.txt").write_text("not ours")
    assert [segment.number for segment in segments.segments(tmp_path)] == [2, 10, 1_000_000]
    assert segments.segments(tmp_path / "gone") == []


def test_a_segment_is_read_on_from_where_the_last_reading_ended(tmp_path):
    path = tmp_path / "000001.spool"
    path.write_bytes(MARK + frame(b"one") + frame(b"two"))
    first = segments.read(path, 0, 1)
    assert first.payloads == [b"one"]
    second = segments.read(path, first.end, 10)
    assert (second.payloads, second.end, second.tail) == ([b"two"], path.stat().st_size, Tail.CLEAN)
    assert segments.read(path, second.end, 10).payloads == []


def test_a_record_larger_than_a_chunk_is_read(tmp_path):
    path = tmp_path / "000001.spool"
    large = bytes([7]) * MAX_PAYLOAD
    path.write_bytes(MARK + frame(large) + frame(b"after"))
    found = segments.read(path, 0, 10)
    assert found.payloads[0] == large
    assert segments.read(path, found.end, 10).payloads in ([b"after"], [])


@pytest.mark.parametrize(
    ("content", "tail"), [(b"", Tail.CUT), (MARK[:5], Tail.CUT), (b"something else", Tail.BAD)]
)
def test_a_file_without_our_mark_holds_no_records(tmp_path, content, tail):
    path = tmp_path / "000001.spool"
    path.write_bytes(content)
    assert segments.read(path, 0, 10) == segments.Parsed([], 0, tail)

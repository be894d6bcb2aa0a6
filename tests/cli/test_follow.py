"""The progress of a run, in words and on a real terminal."""

import os
import pty
import subprocess
import sys

import pytest

from tiebreak.cli.follow import Silent, duration, facts, progress

RUN = {"done": 5, "total": 20, "rate_per_second": 12.34, "eta_seconds": 75.0, "spend": {"amount": 0.042}}


def test_facts_say_what_is_known():
    assert facts(RUN) == "12/s · $0.042 · 1 min 15 s left"
    assert facts(RUN | {"rate_per_second": 1234.5}) == "1,234/s · $0.042 · 1 min 15 s left"
    assert facts(RUN | {"rate_per_second": 0.31, "eta_seconds": None}) == "0.3/s · $0.042"
    assert facts(RUN | {"rate_per_second": None, "eta_seconds": None}) == "$0.042"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_have_two_units_at_most(seconds, words):
    assert duration(seconds) == words


def test_json_and_pipes_get_no_bar(capsys):
    for quiet in (True, False):
        with progress(quiet=quiet) as meter:
            assert isinstance(meter, Silent)
            meter.update(RUN)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_numbers():
    code = f"from tiebreak.cli.follow import progress\nwith progress(quiet=False) as meter: meter.update({RUN!r})"
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
            timeout=60,
            check=True,
        )
        said = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "5/20" in said
    assert "1 min 15 s left" in said

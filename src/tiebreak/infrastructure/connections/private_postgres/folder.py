"""The data folder: where it is, what lies in it, and who may enter."""

import functools
import hashlib
import os
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tiebreak.errors import Misconfigured

SYSTEM_HOME = Path("/var/lib/tiebreak")
SHORT_SOCKETS = Path("/tmp")  # noqa: S108 - the folder below it is ours, 0700 and owner-checked
# sun_path has 108 bytes, and "/.s.PGSQL.5432" follows the folder.
LONGEST_SOCKET_FOLDER = 90
PORT = 5432  # only a part of the socket's name: there is no TCP
ROLE = "tiebreak"
DATABASE = "tiebreak"
# What a connection URL and PostgreSQL's list of socket folders both take unquoted.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")


def default_home(*, user_data: Path, is_root: bool, namespaces: bool) -> Path:
    """The folder when TIEBREAK_HOME says nothing.

    Root without user namespaces runs the server as another user, who could not enter root's home.
    """
    return SYSTEM_HOME if is_root and not namespaces else user_data


def resolve_home(home: Path | None) -> Path:
    """The data folder, absolute; `None` means the default of this user and machine.

    Raises:
        Misconfigured: the user has no home folder to put it in.
    """
    if home is None:
        is_root = os.geteuid() == 0
        namespaces = not is_root or _namespaces_work()
        home = default_home(user_data=_user_data(), is_root=is_root, namespaces=namespaces)
    return home.expanduser().resolve()


def _user_data() -> Path:
    from platformdirs import user_data_path  # lazy: most callers name their folder

    try:
        path = user_data_path("tiebreak")
    except RuntimeError:
        path = Path()
    if not path.is_absolute():
        raise Misconfigured(
            f"the user with uid {os.geteuid()} has no home folder for the data; set TIEBREAK_HOME to a folder"
        )
    return path


@functools.cache
def _namespaces_work() -> bool:
    # Asked in a process of its own: trying it would change this one, and a fork of a threaded process may hang.
    ask = "import sys; from tiebreak.infrastructure.connections.private_postgres import identity; "
    probe = [sys.executable, "-P", "-c", f"{ask}sys.exit(not identity.namespaces_work())"]
    return subprocess.run(probe, check=False, timeout=30, stdin=subprocess.DEVNULL).returncode == 0  # noqa: S603


@dataclass(frozen=True, slots=True)
class Folder:
    """The places in one data folder. `home` is absolute."""

    home: Path

    @property
    def data(self) -> Path:
        """PostgreSQL's own folder; everything else stays outside it."""
        return self.home / "postgres"

    @property
    def fresh_data(self) -> Path:
        """Where a cluster is made; it becomes `data` when it is complete."""
        return self.home / "postgres.new"

    @property
    def log(self) -> Path:
        """What the server and its guardian say; the guardian keeps it bounded."""
        return self.home / "postgres.log"

    @property
    def password(self) -> Path:
        """The role's password, 0600."""
        return self.home / "password"

    @property
    def clients_lock(self) -> Path:
        """Held shared by every process that uses the server."""
        return self.home / "clients.lock"

    @property
    def start_lock(self) -> Path:
        """Held by the one process that looks for the server and perhaps starts it."""
        return self.home / "start.lock"

    @property
    def guardian_lock(self) -> Path:
        """Held by the guardian as long as it lives; the file holds its pid."""
        return self.home / "guardian.lock"

    @property
    def binaries(self) -> Path:
        """Copies of the server's programs, for a user who cannot enter where they are installed."""
        return self.home / "binaries"

    @property
    def sockets(self) -> Path:
        """Where the socket lies: in the folder, or on a short path when the folder's is too long for a socket."""
        inside = self.home / "run"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_FOLDER and _PLAIN_PATH.fullmatch(str(inside)):
            return inside
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return SHORT_SOCKETS / f"tiebreak-{self.home.stat().st_uid}-{digest}"

    @property
    def socket(self) -> Path:
        """The socket itself."""
        return self.sockets / f".s.PGSQL.{PORT}"

    def create(self) -> None:
        """Make the folder, open to its owner only; an existing one is left as it is.

        Raises:
            Misconfigured: it cannot be made or written to.
        """
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.home, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as exc:
            raise Misconfigured(
                f"the data folder {self.home} cannot be used ({exc.strerror}); "
                "set TIEBREAK_HOME to a folder of yours, or DATABASE_URL to a PostgreSQL server"
            ) from exc

    def dsn(self, password: str) -> str:
        """The URL of our database."""
        return f"postgresql://{ROLE}:{quote(password, safe='')}@/{DATABASE}?host={quote(str(self.sockets))}"

    def new_password(self) -> str:
        """Make a password and store it; the file is complete or absent."""
        password = secrets.token_urlsafe(32)
        fresh = self.password.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(password + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.password)
        return password

    def major(self) -> int | None:
        """The PostgreSQL major that made the data, or None for a fresh folder."""
        try:
            return int((self.data / "PG_VERSION").read_text().split(".")[0])
        except FileNotFoundError:
            return None

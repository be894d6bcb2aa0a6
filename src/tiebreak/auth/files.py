"""Keys in files: that of this machine's owner, the first admin key of an installation, and the last known snapshot."""

import secrets
from pathlib import Path
from typing import Final

import msgspec

from tiebreak.auth.keys import OWNER_PREFIX, KeyText, fresh, owner, parse
from tiebreak.auth.snapshot import KeySnapshot
from tiebreak.errors import Misconfigured
from tiebreak.infrastructure.private_file import create_once, replace

OWNER_FILE: Final = "local.key"
SNAPSHOT_FILE: Final = "keys.snapshot"


def owner_key(home: Path) -> KeyText:
    """The key by which commands on this machine work as its owner: whoever can read the data folder.

    Made when it is not there (0600). It counts for the servers on this data folder only and is in no database.

    Raises:
        Misconfigured: the file holds something else, others may read it, or it cannot be made.
    """
    path = home / OWNER_FILE
    try:
        if not path.exists():
            create_once(path, f"{owner(secrets.token_bytes).text}\n".encode())
        mode = path.stat().st_mode & 0o777
    except OSError as exc:
        raise Misconfigured(
            f"the key file {path} of this machine's owner cannot be made or read: {exc.strerror}"
        ) from exc
    if mode & 0o077:
        raise Misconfigured(
            f"{path} is readable by others (mode {mode:04o}), who may know it; remove it, and the next start makes a "
            "new one"
        )
    return _read(path)


def find_owner_key(home: Path) -> KeyText | None:
    """The owner's key, if a server has made one and this user may read it."""
    try:
        return parse((home / OWNER_FILE).read_text("ascii").strip())
    except (OSError, UnicodeDecodeError):
        return None


def admin_key(path: Path) -> KeyText:
    """The key in the file; a fresh one is written there (0600) when there is no file.

    Its mode is not judged: container platforms hand secrets in as they like.

    Raises:
        Misconfigured: the file holds no key, or can be neither read nor made.
    """
    try:
        if not path.exists():
            create_once(path, f"{fresh(secrets.token_bytes).text}\n".encode())
    except OSError as exc:
        raise Misconfigured(
            f"TIEBREAK_ADMIN_KEY_FILE={path} cannot be made or read: {exc.strerror}; name a file in a folder that the "
            "server may write to"
        ) from exc
    key = _read(path)
    if key.prefix == OWNER_PREFIX:
        raise Misconfigured(
            f"{path} is the key of this machine's owner; let TIEBREAK_ADMIN_KEY_FILE name another file"
        )
    return key


def save_snapshot(snapshot: KeySnapshot, home: Path) -> None:
    """Keep the keys for a start without the database. Blocks.

    Raises:
        OSError: the folder does not take it.
    """
    replace(home / SNAPSHOT_FILE, snapshot.encode())


def load_snapshot(home: Path) -> KeySnapshot | None:
    """The keys as they were last known, None when there is no file that can be read. Blocks."""
    try:
        return KeySnapshot.decode((home / SNAPSHOT_FILE).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


def _read(path: Path) -> KeyText:
    try:
        key = parse(path.read_text("ascii").strip())
    except (OSError, UnicodeDecodeError) as exc:
        raise Misconfigured(f"the key file {path} cannot be read: {exc}") from exc
    if key is None:
        # The text itself is not shown: it may be a key with a typing error.
        raise Misconfigured(
            f"{path} holds no API key (tb_, 8 characters, _, 43 characters); remove it, and a fresh one is written there"
        )
    return key

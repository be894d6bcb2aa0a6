"""Secrets at rest: AES-256-GCM, bound to their row and to the key that sealed them."""

import base64
import binascii
import hashlib
import secrets
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tiebreak.errors import Misconfigured
from tiebreak.infrastructure.private_file import create_once

VARIABLE: Final = "TIEBREAK_SECRET_KEY"
FILE_NAME: Final = "secret.key"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
# What a row keeps sealed: the API key, and a proxy's URL, which may hold a password.
Field = Literal["secret", "proxy"]
MAKE_ONE: Final = "make one with `openssl rand -base64 32`"


class CannotOpen(Exception):
    """A sealed secret that the present key does not open; the text says why, never what is in it."""


def _parse(text: str, source: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        # The text itself is not shown: it may be a key with a typing error.
        raise Misconfigured(f"{source} is not {KEY_BYTES} bytes in base64; {MAKE_ONE}")
    return key


def _read(path: Path) -> bytes | None:
    """The key in the file, or None when there is no file."""
    try:
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise Misconfigured(
                f"{path} is readable by others (mode {mode:04o}); run `chmod 600 {path}`, and if "
                "others have been on this machine, enter the providers' secrets again under a new key"
            )
        return _parse(path.read_text("ascii"), str(path))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise Misconfigured(
            f"the key file {path} cannot be read: {exc}; set {VARIABLE} to the key instead"
        ) from exc


def _create(path: Path) -> bytes:
    """Write a fresh key to the file; of two processes at once, both get the same one."""
    try:
        create_once(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
    except OSError as exc:
        raise Misconfigured(
            f"the key file {path} cannot be written: {exc}; set {VARIABLE} instead ({MAKE_ONE})"
        ) from exc
    key = _read(path)
    if key is None:
        raise Misconfigured(f"the key file {path} vanished while it was made; try again")
    return key


class Keyring:
    """The key for the providers' secrets: given, in a 0600 file, or made there when first needed."""

    def __init__(self, key: bytes | None, path: Path | None) -> None:
        self._key = key
        self._path = path

    def __repr__(self) -> str:
        return f"Keyring({self.key_id or 'no key yet'})"

    @classmethod
    def open(cls, home: Path | None, secret_key: str | None) -> "Keyring":
        """The key from `secret_key` (base64), else from `secret.key` in the folder `home`.

        Writes nothing. With neither, secrets cannot be stored and calls that need one fail.

        Raises:
            Misconfigured: a key that is not 32 bytes, or a file that is unreadable or open to others.
        """
        if secret_key is not None:
            return cls(_parse(secret_key, VARIABLE), None)
        path = None if home is None else home / FILE_NAME
        return cls(None if path is None else _read(path), path)

    @property
    def key_id(self) -> str | None:
        """The first eight hex digits of the key's SHA-256, which tell keys apart and not what they are."""
        return None if self._key is None else hashlib.sha256(self._key).hexdigest()[:8]

    def _needed(self) -> tuple[bytes, str]:
        """The key and its id; made now if there is none and there is a place for it."""
        if self._key is None:
            if self._path is None:
                raise Misconfigured(
                    f"no key to keep secrets with: set {VARIABLE} to 32 bytes in base64; {MAKE_ONE}"
                )
            self._key = _read(self._path) or _create(self._path)
        return self._key, self.key_id or ""

    def encrypt(self, plain: str, row_id: UUID, field: Field = "secret") -> tuple[bytes, str]:
        """Seal a secret for one field of one row: nonce and ciphertext in one value, and the id of the key.

        Raises:
            Misconfigured: there is no key and none can be made.
        """
        key, key_id = self._needed()
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, plain.encode(), _bound_to(key_id, row_id, field)), key_id

    def decrypt(self, sealed: bytes, key_id: str, row_id: UUID, field: Field = "secret") -> str:
        """Open a secret that was sealed for this field of this row.

        Raises:
            CannotOpen: another key sealed it, or it was changed or moved from another place.
        """
        if self._key is None and self._path is not None:
            self._key = _read(self._path)  # another process may have made it meanwhile
        if self._key is None:
            raise CannotOpen(f"it was sealed with the key {key_id}, and there is no key now")
        if key_id != self.key_id:
            raise CannotOpen(f"it was sealed with the key {key_id}, and the present key is {self.key_id}")
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return AESGCM(self._key).decrypt(nonce, ciphertext, _bound_to(key_id, row_id, field)).decode()
        except (InvalidTag, ValueError) as exc:
            raise CannotOpen("its row was changed, or it belongs to another row") from exc


def _bound_to(key_id: str, row_id: UUID, field: Field) -> bytes:
    """The associated data: a sealed value copied to another row or field does not open there."""
    place = f"tiebreak/providers/{key_id}/{row_id}"
    # Secrets were sealed before there was a second field, so theirs is the plain place.
    return (place if field == "secret" else f"{place}/{field}").encode()

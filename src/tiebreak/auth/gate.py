"""What stands at the door of the server: which call needs which scope, and whether the caller has it."""

from collections.abc import Iterable, MutableMapping
from typing import Any, Final

from tiebreak.auth.model import OWNER, KeyScope, Principal, Refusal
from tiebreak.auth.snapshot import presented
from tiebreak.auth.watch import KeyWatch
from tiebreak.errors import Refused, TiebreakError, Unauthenticated, Unavailable

OPEN: Final = frozenset({"/health"})
# The first that fits; whatever is not named here needs `manage`.
NEEDED: Final[tuple[tuple[str, KeyScope], ...]] = (
    ("/api/v1/keys", "admin"),
    ("/v1/feedback", "feedback"),
    ("/v1", "gateway"),
)


def needed(path: str) -> KeyScope | None:
    """The scope that a call of this path needs, None when it is open to everybody."""
    if path in OPEN:
        return None
    for start, scope in NEEDED:
        if path == start or path.startswith(f"{start}/"):
            return scope
    return "manage"


def authenticate(
    watch: KeyWatch, headers: Iterable[tuple[bytes, bytes]], scope: KeyScope
) -> Principal | Refusal:
    """Who sends these headers, if a key among them allows `scope`."""
    text = presented(headers)
    found = text if isinstance(text, Refusal) else watch.check(text)
    if isinstance(found, Principal) and not found.may(scope):
        return Refusal(
            "scope",
            f"the API key {found.name!r} has the scopes {', '.join(sorted(found.scopes))}, and this call needs "
            f"{scope}; `tiebreak key create --scope {scope}` makes one that has it",
        )
    return found


def error_of(refusal: Refusal) -> TiebreakError:
    """401 when the caller is not known, 403 when it may not do this."""
    return Refused(refusal.detail) if refusal.reason == "scope" else Unauthenticated(refusal.detail)


class Gate:
    """The keys' part of the guard. Before `watch` is set, which takes the database, it lets nobody in.

    `exposed` says that other machines reach the server: then it is locked also while there is no key.
    """

    def __init__(self, *, exposed: bool) -> None:
        self._exposed = exposed
        self.watch: KeyWatch | None = None

    @property
    def locked(self) -> bool:
        """Whether a call needs a key; while none was ever made, whoever is on this machine is its owner."""
        return self._exposed or self.watch is None or self.watch.snapshot.keyed

    def admit(self, scope: MutableMapping[str, Any]) -> TiebreakError | None:
        """Why an ASGI request may not pass, or None; then `state.principal` of the request says who it is."""
        asked = needed(scope["path"])
        if asked is None:
            return None
        if self.watch is None:
            return Unavailable("the server is starting; try again shortly", retry_after=1.0)
        found = authenticate(self.watch, scope["headers"], asked) if self.locked else OWNER
        if isinstance(found, Refusal):
            return error_of(found)
        scope.setdefault("state", {})["principal"] = found
        return None

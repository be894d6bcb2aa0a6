"""A variant's words in a body of the caller's own dialect: its prompts take the place of the caller's. Pure.

Only what is replaced changes; every other value keeps the caller's bytes.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tiebreak.errors import InvalidInput
from tiebreak.experiments.prompting import Wording

Top = Mapping[str, msgspec.Raw]
Message = dict[str, Any]

SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_TEXT_TYPES: Final = frozenset({"text", "input_text"})
_FAULTS: Final = (ValueError, RecursionError)

_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def _value(raw: Any) -> Any:
    return msgspec.json.decode(raw) if isinstance(raw, msgspec.Raw) else raw


def _listed(top: Top, field: str) -> list[Message]:
    try:
        return list(_messages.decode(top[field]))
    except KeyError:
        raise InvalidInput(f"`{field}` is missing; this test sets the prompt of a conversation") from None
    except _FAULTS as exc:
        raise InvalidInput(
            f"`{field}` is not what it must be for this test to set its prompt: {exc}"
        ) from None


def _text_of(content: Any) -> str:
    """The words of a message's content."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(
        str(part.get("text", ""))
        for part in parts
        if isinstance(part, dict) and part.get("type") in _TEXT_TYPES
    )


def _with_text(content: Any, text: str) -> Any:
    """The content with these words; what is no words stays where it is."""
    if not isinstance(content, list):
        return text
    kept, replaced = [], False
    for part in content:
        if not (isinstance(part, dict) and part.get("type") in _TEXT_TYPES):
            kept.append(part)
        elif not replaced:
            kept.append(part | {"text": text})
            replaced = True
    return kept if replaced else [*kept, {"type": "text", "text": text}]


def _last_user(messages: list[Message]) -> int | None:
    roles = [_value(message.get("role")) for message in messages]
    return next((place for place in range(len(roles) - 1, -1, -1) if roles[place] == "user"), None)


def _read(messages: list[Message], system: str) -> tuple[str, str]:
    """(last user text, system text)."""
    told = [
        _text_of(_value(message.get("content")))
        for message in messages
        if _value(message.get("role")) in SYSTEM_ROLES
    ]
    place = _last_user(messages)
    asked = "" if place is None else _text_of(_value(messages[place].get("content")))
    return asked, "\n".join([system, *told]).strip("\n")


def _reworded(messages: list[Message], user: str | None) -> list[Message]:
    place = _last_user(messages)
    if user is None or place is None:
        return messages
    message = messages[place]
    return [
        *messages[:place],
        {**message, "content": _with_text(_value(message.get("content")), user)},
        *messages[place + 1 :],
    ]


class _Conversation:
    """Where a dialect keeps its messages, and where the system's words when not among them."""

    def __init__(self, field: str, system: str | None) -> None:
        self._field = field
        self._system = system

    def read(self, top: Top) -> tuple[str, str]:
        """The text of the last user message, and of all system messages."""
        if self._is_plain(top):
            return str(_value(top[self._field])), self._apart(top)
        return _read(_listed(top, self._field), self._apart(top))

    def changes(self, top: Top, wording: Wording) -> dict[str, Any]:
        """What to set so that the body says these words."""
        changed: dict[str, Any] = {}
        if wording.system is not None and self._system is not None:
            changed[self._system] = wording.system
        if self._is_plain(top):
            return changed if wording.user is None else changed | {self._field: wording.user}
        if wording.user is None and (wording.system is None or self._system is not None):
            return changed
        messages = _reworded(_listed(top, self._field), wording.user)
        if wording.system is not None:
            messages = [each for each in messages if _value(each.get("role")) not in SYSTEM_ROLES]
            if self._system is None:
                messages = [{"role": "system", "content": wording.system}, *messages]
        return changed | {self._field: messages}

    def _apart(self, top: Top) -> str:
        return "" if self._system is None or self._system not in top else _text_of(_value(top[self._system]))

    def _is_plain(self, top: Top) -> bool:
        return bytes(top.get(self._field, b"")).lstrip().startswith(b'"')


CONVERSATIONS: Final[Mapping[str, _Conversation]] = {
    "/v1/chat/completions": _Conversation("messages", None),
    "/v1/messages": _Conversation("messages", "system"),
    "/v1/responses": _Conversation("input", "instructions"),
}

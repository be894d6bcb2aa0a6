"""What the requests of all surfaces have in common: bytes to types, and which of their fields say something. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

import msgspec

from tiebreak.errors import Fault, InvalidInput
from tiebreak.gateway.fields import Fields
from tiebreak.providers.model import ImagePart, NamedTool, ToolChoice

# Every vendor's counts and seeds fit, and so they do in JSON as others write it.
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

# Before a tool call's signature where it passes through a caller's hands: what comes back without it is some vendor's own.
SIGNED: Final = "tiebreak:"

_AT: Final = " - at `$"  # how msgspec ends what it says of a value inside
MOST_FIELDS: Final = 200
MOST_REASON: Final = 300  # characters; an error may repeat what it does not like
_IMAGE: Final = re.compile(
    r"data:([a-z0-9.+-]{1,100}/[a-z0-9.+-]{1,100})(?:;[^,;]{0,100}){0,8};base64,", re.IGNORECASE
)
T = TypeVar("T")


def refused(place: str, why: str) -> InvalidInput:
    """What cannot be used; `place` is where ("messages[0].content"), `why` follows it in a sentence."""
    pointer = "/" + re.sub(r"\[(\d+)\]", r"/\1", place).replace(".", "/")
    return InvalidInput(f"`{place}` {why}", faults=(Fault(pointer, why),))


def decoded(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """The typed request.

    Raises:
        InvalidInput: it is not of that type; says where.
    """
    try:
        return decoder.decode(body)
    except RecursionError:
        raise InvalidInput("the body is nested too deeply; no vendor takes it so") from None
    except UnicodeDecodeError:
        raise InvalidInput("the body is no valid UTF-8; send JSON as UTF-8") from None
    except ValueError as exc:
        why, at, place = str(exc).rpartition(_AT)
        why = why if at else place
        why = why[:1].lower() + why[1:MOST_REASON]
        place = place.rstrip("`").removeprefix(".") if at else ""
        if not place:
            raise InvalidInput(f"the body is not what this path takes: {why}") from None
        raise refused(place, f"cannot be read: {why}") from None


@dataclass(frozen=True, slots=True)
class Words:
    """The top-level fields of a dialect's request.

    `said` have neutral words. `dropped` say something about the caller or to the vendor's caches, not about the answer, and
    are left out on the way to another dialect. `idle` have values that ask for nothing. `partly` are objects of which the
    named field has neutral words. Whatever else a request holds is beyond the neutral words, unknown fields included.
    """

    said: frozenset[str]
    dropped: frozenset[str]
    idle: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    partly: Mapping[str, str] = field(default_factory=dict)

    def beyond(self, fields: Fields) -> dict[str, Any]:
        """What of a request has no neutral words.

        Raises:
            InvalidInput: a value that cannot be read.
        """
        top = decoded(_tops, fields.body)
        if len(top) > MOST_FIELDS:
            raise InvalidInput(f"the body has {len(top):,} fields; no vendor knows more than {MOST_FIELDS}")
        found: dict[str, Any] = {}
        for name, raw in top.items():
            if name in self.said or name in self.dropped:
                continue
            value = decoded(_values, raw)
            if name in self.partly and isinstance(value, dict):
                rest = {
                    inner: what
                    for inner, what in value.items()
                    if inner != self.partly[name] and not self._idle(f"{name}.{inner}", what)
                }
                if rest:
                    found[name] = rest
            elif not self._idle(name, value):
                found[name] = value
        return found

    def _idle(self, name: str, value: Any) -> bool:
        return value is None or any(
            value == idle and isinstance(value, bool) == isinstance(idle, bool)
            for idle in self.idle.get(name, ())
        )

    def names(self, beyond: Mapping[str, Any]) -> list[str]:
        """What is beyond the neutral words by name ("text.verbosity")."""
        names: list[str] = []
        for name, value in beyond.items():
            if name in self.partly and isinstance(value, dict):
                names += [f"{name}.{inner}" for inner in value]
            else:
                names.append(name)
        return sorted(names)

    def parameters(self, fields: Fields, *, same_family: bool) -> dict[str, Any]:
        """What goes to the vendor as it is: everything beyond the neutral words, if it speaks this dialect.

        Raises:
            InvalidInput: there is something, and it does not.
        """
        beyond = self.beyond(fields)
        if beyond and not same_family:
            names = self.names(beyond)
            raise InvalidInput(
                f"{', '.join(f'`{name[:80]}`' for name in names[:8])} cannot be said to this variant's provider, "
                "which speaks another dialect; leave it out, or use a provider of the dialect of this path",
                faults=tuple(Fault("/" + name.replace(".", "/"), "has no words there") for name in names[:8]),
            )
        return beyond


_tops = msgspec.json.Decoder(dict[str, msgspec.Raw])
_values = msgspec.json.Decoder(Any)


def image_at(url: str, place: str) -> ImagePart:
    """A picture by its URL; a data URL holds its bytes.

    Raises:
        InvalidInput: a data URL that is no base64 picture.
    """
    if url[:5].lower() != "data:":
        return ImagePart(url=url)
    head = _IMAGE.match(url)
    if head is None:
        raise refused(
            place, "is a data URL without a media type or not in base64; write data:image/png;base64,…"
        )
    return ImagePart(data=url[head.end() :], media_type=head[1].lower())


def choice_of(word: str, named: str | None, place: str, words: Mapping[str, ToolChoice]) -> ToolChoice:
    """Which tool is to be called; `named` is the one by name, if the request names one.

    Raises:
        InvalidInput: neither.
    """
    if named is not None:
        return NamedTool(named)
    choice = words.get(word)
    if choice is None:
        raise refused(
            place,
            f"is {word[:80]!r}, which has no words in other dialects; use {', '.join(words)} or one function",
        )
    return choice


EMPTY_SCHEMA: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
# What both of OpenAI's chat surfaces say of the caller and of the answer's way: other dialects do without.
OPENAI_DROPPED: Final = frozenset(
    [
        "user",
        "safety_identifier",
        "metadata",
        "stream_options",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
    ]
)
OPENAI_CHOICES: Final[dict[str, ToolChoice]] = {"auto": "auto", "none": "none", "required": "required"}

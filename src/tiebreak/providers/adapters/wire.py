"""What the dialects have in common on the wire: posting JSON, and what may be believed of an answer. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

import tiebreak
from tiebreak.infrastructure.connections.http import HttpRequest, Timeouts
from tiebreak.providers.account import Account
from tiebreak.providers.adapters.failures import BAD_JSON, refused
from tiebreak.providers.model import Usage

# A vendor that counts more than this for one answer is not believed.
MOST_TOKENS: Final = 1_000_000_000
MOST_LIST_BYTES: Final = 4 * 1024 * 1024
ABSENT: Final = (b"", b"null")

_encoder = msgspec.json.Encoder()


def headers(authentication: Mapping[str, str]) -> dict[str, str]:
    """The headers of every call."""
    return {
        "content-type": "application/json",
        # No compression: answers are small, streams must not wait for a block, and nothing can be a bomb.
        "accept-encoding": "identity",
        "user-agent": f"tiebreak/{tiebreak.__version__}",
        **authentication,
    }


def timeouts(account: Account) -> Timeouts:
    """Reasoning models are silent for as long as they think, so silence has the limit of the call."""
    return Timeouts(idle=account.service.timeout_seconds, total=account.service.timeout_seconds)


def post(account: Account, path: str, authentication: Mapping[str, str], body: object) -> HttpRequest:
    """A call with a JSON body; `path` follows the account's base URL.

    Raises:
        ProviderError: text that is no Unicode; nothing was sent.
    """
    try:
        encoded = _encoder.encode(body)
    except (TypeError, *BAD_JSON) as exc:
        raise refused(f"the request cannot be written as JSON: {exc}") from exc
    return HttpRequest(
        "POST",
        account.base_url + path,
        headers(authentication),
        encoded,
        timeouts(account),
        route=account.route,
    )


def get(account: Account, path: str, authentication: Mapping[str, str]) -> HttpRequest:
    """A question without a body, for lists."""
    return HttpRequest(
        "GET",
        account.base_url + path,
        headers(authentication),
        timeouts=timeouts(account),
        max_bytes=MOST_LIST_BYTES,
        route=account.route,
    )


def storable(text: str) -> str:
    """PostgreSQL keeps no NUL; it becomes the replacement character, as in HTML."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def believable(
    input_tokens: int, output_tokens: int, cached: int | None = None, reasoning: int | None = None
) -> Usage | None:
    """The usage, or None when no call can have it; a part that is more than its whole is not known."""
    if not (0 <= input_tokens <= MOST_TOKENS and 0 <= output_tokens <= MOST_TOKENS):
        return None
    return Usage(
        input_tokens,
        output_tokens,
        cached if cached is not None and 0 <= cached <= input_tokens else None,
        reasoning if reasoning is not None and 0 <= reasoning <= output_tokens else None,
    )

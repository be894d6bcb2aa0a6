"""What may be asked for, as the vendors list their models. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from tiebreak.gateway.surfaces.writing import encoded

OWNER: Final = "tiebreak"
# When a vendor made its model is not known here; both dialects want a time, and Anthropic's says that this one means so.
_EPOCH: Final = "1970-01-01T00:00:00Z"


def openai(names: Sequence[str]) -> bytes:
    """In OpenAI's form."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": OWNER} for name in names]
    return encoded({"object": "list", "data": data})


def anthropic(names: Sequence[str]) -> bytes:
    """In Anthropic's form, all on one page."""
    data: list[dict[str, Any]] = [
        {"type": "model", "id": name, "display_name": name, "created_at": _EPOCH, "lifecycle": "active"}
        for name in names
    ]
    first, last = (names[0], names[-1]) if names else (None, None)
    return encoded({"data": data, "has_more": False, "first_id": first, "last_id": last})

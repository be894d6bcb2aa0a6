"""List prices from the genai-prices package, as shipped: its self-update is never started, so nothing is fetched."""

import math
from datetime import datetime
from decimal import Decimal
from typing import Final

from tiebreak.errors import Fault, InvalidInput
from tiebreak.providers.model import Price

HIGHEST: Final = 1_000_000.0
_PLACES: Final = Decimal("1e-9")


def stated(value: float, field: str) -> Decimal:
    """A price given by the user, in US dollars per million tokens, to nine places.

    Raises:
        InvalidInput: negative, beyond all sense, or no number.
    """
    if not math.isfinite(value) or not 0 <= value <= HIGHEST:
        message = (
            f"{field} is {value:g}; a price is 0 to {HIGHEST:,.0f} US dollars per million tokens; "
            "leave both prices out to use the list price"
        )
        raise InvalidInput(message, faults=[Fault(f"/{field}", message)])
    return Decimal(str(value)).quantize(_PLACES)


def list_price(model: str, base_url: str, at: datetime) -> Price | None:
    """What the list says of a model: of the vendor whose API the URL is, else of the vendor known for that name.

    Prices that rise with the length of the prompt count at their lowest step. None when the list has no price per
    token. The first call loads the list, which takes a good part of a second.
    """
    # The list is 1.6 MB of Python; only who asks for a price pays for it.
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    try:
        vendor = snapshot.find_provider(None, None, base_url)
    except LookupError:
        vendor = None
    try:
        _, found = snapshot.find_provider_model(model, vendor, None, None)
    except LookupError:
        return None
    listed = found.get_prices(at)
    per_input, per_output = _lowest(listed.input_mtok), _lowest(listed.output_mtok)
    if per_input is None or per_output is None:
        return None
    return Price(input=per_input, output=per_output, source="list")


def _lowest(price: object) -> Decimal | None:
    base = getattr(price, "base", price)  # a tiered price, or a plain one
    return base if isinstance(base, Decimal) else None

"""Which price counts: the user's own by their dates, else the list's, which is the genai-prices package as shipped: its
self-update is never started, so nothing is fetched."""

import math
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from tiebreak.errors import Fault, InvalidInput
from tiebreak.providers.account import DatedPrice, Price

HIGHEST: Final = 1_000_000.0
_PLACES: Final = Decimal("1e-9")


def stated(value: float, field: str) -> Decimal:
    """A price given by the user, in US dollars per million tokens, to nine places.

    Raises:
        InvalidInput: negative, beyond all sense, or no number.
    """
    if not math.isfinite(value) or not 0 <= value <= HIGHEST:
        raise _wrong(
            field,
            f"{field} is {value:g}; a price is 0 to {HIGHEST:,.0f} US dollars per million tokens; "
            "leave the prices out to use the list price",
        )
    return Decimal(str(value)).quantize(_PLACES)


def own(
    input_price: float | None,
    output_price: float | None,
    cached_input_price: float | None,
    valid_from: datetime | None,
) -> DatedPrice | None:
    """The user's own price from what was said of it; None when there is no price in it.

    Raises:
        InvalidInput: a part is missing, or is no possible price.
    """
    if input_price is None and output_price is None and cached_input_price is None:
        if valid_from is None:
            return None
        raise _wrong(
            "input_price", "input_price and output_price are missing: valid_from says since when they count"
        )
    if input_price is None or output_price is None:
        missing = "input_price" if input_price is None else "output_price"
        raise _wrong(missing, f"{missing} is missing: give both prices, or none to use the list price")
    cached = None if cached_input_price is None else stated(cached_input_price, "cached_input_price")
    price = Price(
        stated(input_price, "input_price"), stated(output_price, "output_price"), "override", cached
    )
    return DatedPrice(price, valid_from)


def _wrong(field: str, message: str) -> InvalidInput:
    return InvalidInput(message, faults=[Fault(f"/{field}", message)])


def in_force(own: Sequence[DatedPrice], at: datetime) -> DatedPrice | None:
    """Of prices in the order of their dates, the one that counts at a moment."""
    begun = [dated for dated in own if dated.valid_from is None or dated.valid_from <= at]
    return begun[-1] if begun else None


def list_price(model: str, base_url: str, at: datetime) -> Price | None:
    """What the list says of a model at a moment: of the vendor whose API the URL is, else of the vendor known for that
    name.

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
    if per_input is None:
        return None
    # Models that make vectors have no price for what comes out, because nothing is billed there.
    return Price(per_input, per_output or Decimal(0), "list", cached_input=_lowest(listed.cache_read_mtok))


def _lowest(price: object) -> Decimal | None:
    base = getattr(price, "base", price)  # a tiered price, or a plain one
    return base if isinstance(base, Decimal) else None

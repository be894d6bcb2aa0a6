"""Numbers as people and models write them: "$1,234.50.", "−3", "15%", "1.5e3". Pure.

The point is the decimal mark and the comma groups thousands, in threes; a comma anywhere else separates two numbers.
A percent or currency sign is read past, never converted: "15%" is 15.
"""

import re
from decimal import Context, Decimal

# Rounds a difference to 60 digits; its sign, and whether it is zero, stay exact for numbers of any length.
_CONTEXT = Context(prec=60, Emax=999_999_999, Emin=-999_999_999)

# A sign touches its number, or the currency sign before it, and does not follow a word or a closing bracket: "10-5"
# and "GPT-4" hold 5 and 4. Each group of thousands looks one digit ahead itself, which keeps the scan linear.
_NUMBER = r"""
    (?:(?<![\w)\]%])(?P<sign>[-+−]))? (?:[$€£¥₹](?P<inner>[-+−])?)?
    (?P<digits>
        (?:\d{1,3}(?:,\d{3}(?!\d))+|\d+)(?:\.\d+)?
        | (?<![\d.])\.\d+
    )
    (?P<exponent>[eE][-+−]?\d{1,3}(?!\d))?
"""
_ANYWHERE = re.compile(_NUMBER, re.VERBOSE)
_ALONE = re.compile(rf"\s*{_NUMBER}\s*[%$€£¥₹]?\.?\s*", re.VERBOSE)


def last_number(text: str) -> Decimal | None:
    """The last number written in the text, or None."""
    last = None
    for last in _ANYWHERE.finditer(text):  # noqa: B007  (only the last one counts)
        pass
    return _value(last) if last else None


def only_number(text: str) -> Decimal | None:
    """The number that the text is, white space, currency, percent and a final period aside; else None."""
    alone = _ALONE.fullmatch(text)
    return _value(alone) if alone else None


def within(found: Decimal, expected: Decimal, tolerance: float) -> bool:
    """Whether the two differ by no more than `tolerance`, in decimal arithmetic: 0.3 is within 0.1 of 0.2."""
    return _CONTEXT.abs(_CONTEXT.subtract(found, expected)) <= Decimal(repr(tolerance))


def _value(match: re.Match[str]) -> Decimal:
    sign = match["sign"] or match["inner"] or ""
    written = f"{sign}{match['digits']}{match['exponent'] or ''}"
    return Decimal(written.replace(",", "").replace("−", "-"))

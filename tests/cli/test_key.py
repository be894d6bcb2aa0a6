"""What `tiebreak key` makes of its words, without a server."""

from datetime import UTC, datetime

import pytest

from tiebreak.cli.key import expiry
from tiebreak.errors import InvalidInput

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("12h", "2026-01-02T00:00:00+00:00"),
        ("90d", "2026-04-01T12:00:00+00:00"),
        ("8w", "2026-02-26T12:00:00+00:00"),
        ("2027-01-31", "2027-01-31T00:00:00+00:00"),
        ("2027-01-31T08:00", "2027-01-31T08:00:00+00:00"),
        ("2027-01-31T08:00+02:00", "2027-01-31T08:00:00+02:00"),
        ("never", None),
    ],
)
def test_an_end_is_a_span_a_date_a_time_or_never(text, moment):
    assert expiry(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "90", "-1d", "90 d", "1y", "2027-13-01", "9999999d", "99999w9"])
def test_any_other_end_is_refused_with_what_may_be_written(text):
    with pytest.raises(InvalidInput, match="write 12h, 90d") as refused:
        expiry(text, NOW)
    assert repr(text) in refused.value.detail


def test_a_span_beyond_the_calendar_is_refused():
    with pytest.raises(InvalidInput, match="no time"):
        expiry("99999w", datetime(9000, 1, 1, tzinfo=UTC))

"""Who a request is of, and what it asks of the gateway."""

import pytest

from tiebreak.errors import InvalidInput
from tiebreak.gateway.fields import read_fields
from tiebreak.gateway.identify import NOTHING_ASKED, Asked, Unit, read_headers, unit_of

BODY = read_fields(b'{"model": "tests/a"}')


def headers(**said: str) -> list[tuple[bytes, bytes]]:
    ours = [(f"x-tiebreak-{name}".encode(), value.encode()) for name, value in said.items()]
    return [(b"host", b"x"), *ours, (b"content-type", b"application/json")]


def test_without_headers_of_ours_nothing_is_asked():
    assert read_headers(headers()) is NOTHING_ASKED


def test_every_header_is_read():
    asked = read_headers(
        headers(
            unit=" ann ",
            session="s-1",
            variant="b",
            exclude="true",
            cache="refresh",
            log="none",
            tags="plan=pro, country = de,",
        )
    )
    assert asked == Asked(
        "ann", "s-1", "b", exclude=True, cache="refresh", log="none", tags={"plan": "pro", "country": "de"}
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"cache": "maybe"}, "x-tiebreak-cache is 'maybe'; it may be on, off, refresh"),
        ({"log": "all"}, "x-tiebreak-log is 'all'; it may be none, metadata, full"),
        ({"exclude": "perhaps"}, "x-tiebreak-exclude is 'perhaps'"),
        ({"tags": "a"}, "'a' is not `key=value`"),
        ({"tags": ",".join(f"k{n}=v" for n in range(17))}, "has 17 tags; at most 16"),
    ],
)
def test_what_cannot_be_understood_is_named(said, reason):
    with pytest.raises(InvalidInput) as caught:
        read_headers(headers(**said))
    assert reason in caught.value.detail


def test_a_header_that_is_no_utf_8_is_named():
    with pytest.raises(InvalidInput, match="x-tiebreak-unit is no UTF-8"):
        read_headers([(b"x-tiebreak-unit", b"\xff")])


@pytest.mark.parametrize(
    ("asked", "body", "unit"),
    [
        (Asked(unit="u", session="s"), b'{"model": "m", "user": "b"}', Unit("u", "header")),
        (Asked(session="s"), b'{"model": "m", "user": "b"}', Unit("b", "body")),
        (Asked(session="s"), b'{"model": "m"}', Unit("session:s", "session")),
        (Asked(), b'{"model": "m", "metadata": {"session_id": "z"}}', Unit("session:z", "session")),
        (Asked(), b'{"model": "m"}', Unit("r-1", "request")),
    ],
)
def test_the_unit_is_the_header_s_then_the_body_s_then_the_session_then_the_request(asked, body, unit):
    assert unit_of(asked, read_fields(body), "r-1") == unit

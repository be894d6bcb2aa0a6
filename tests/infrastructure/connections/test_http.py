"""What a call and its failures show of themselves."""

from tiebreak.infrastructure.connections.http import HttpRequest, Route, TimedOut


def test_a_request_is_shown_without_its_headers():
    assert "Bearer" not in repr(HttpRequest("GET", "http://x/", {"authorization": "Bearer secret"}))


def test_a_route_is_shown_without_its_proxy():
    assert "secret" not in repr(Route(proxy="http://user:secret@proxy.example:3128"))


def test_a_limit_that_passed_says_which_and_how_long():
    error = TimedOut("head", 0.25)
    assert (str(error), error.phase) == ("no status and headers within 0.25 s", "head")

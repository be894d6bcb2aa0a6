"""Every failure in both dialects: status, words, and whether an SDK tries again."""

import json

import pytest

from tiebreak.errors import (
    Conflict,
    Fault,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    Refused,
    Unauthenticated,
    Unavailable,
)
from tiebreak.gateway.surfaces import errors
from tiebreak.providers.model import Failure, ProviderError

FAILURES = {
    Failure.BAD_REQUEST: (400, "invalid_request_error", "bad_request", 400, "invalid_request_error"),
    Failure.CONTENT_REFUSED: (400, "invalid_request_error", "content_filter", 400, "invalid_request_error"),
    Failure.NOT_FOUND: (404, "invalid_request_error", "model_not_found", 404, "not_found_error"),
    Failure.RATE_LIMITED: (429, "rate_limit_error", "rate_limit_exceeded", 429, "rate_limit_error"),
    Failure.QUOTA: (429, "insufficient_quota", "insufficient_quota", 429, "rate_limit_error"),
    Failure.AUTHENTICATION: (502, "server_error", "authentication", 502, "api_error"),
    Failure.ADDRESS_REFUSED: (502, "server_error", "address_refused", 502, "api_error"),
    Failure.SERVER_ERROR: (502, "server_error", "server_error", 502, "api_error"),
    Failure.CONNECTION: (502, "server_error", "connection", 502, "api_error"),
    Failure.MALFORMED: (502, "server_error", "malformed", 502, "api_error"),
    Failure.CIRCUIT_OPEN: (503, "server_error", "circuit_open", 529, "overloaded_error"),
    Failure.TIMEOUT: (504, "server_error", "timeout", 504, "timeout_error"),
}


@pytest.mark.parametrize("failure", Failure)
def test_a_vendors_failure_has_a_status_and_words_in_both_dialects_and_is_not_tried_again(failure):
    status, kind, code, their_status, their_kind = FAILURES[failure]
    error = ProviderError(failure, "because")
    ours, theirs = errors.openai(error, "r1"), errors.anthropic(error, "r1")
    assert (ours.status, theirs.status) == (status, their_status)
    assert json.loads(ours.body) == {
        "error": {"message": "because", "type": kind, "param": None, "code": code}
    }
    assert json.loads(theirs.body) == {
        "type": "error",
        "error": {"type": their_kind, "message": "because"},
        "request_id": "r1",
    }
    for answer in (ours, theirs):
        assert dict(answer.headers)[b"x-should-retry"] == b"false"
        assert dict(answer.headers)[b"content-type"] == b"application/json"


class TooMany(Refused):
    status = 429


@pytest.mark.parametrize(
    ("error", "status", "code", "their_status", "their_kind"),
    [
        (InvalidInput("x"), 400, "invalid_input", 400, "invalid_request_error"),
        (Unauthenticated("x"), 401, "invalid_api_key", 401, "authentication_error"),
        (Refused("x"), 403, "refused", 403, "permission_error"),
        (NotFound("x"), 404, "model_not_found", 404, "not_found_error"),
        (Conflict("x"), 409, "conflict", 409, "invalid_request_error"),
        (PayloadTooLarge("x"), 413, "payload_too_large", 413, "request_too_large"),
        (TooMany("x"), 429, "rate_limit_exceeded", 429, "rate_limit_error"),
        (Unavailable("x"), 503, "unavailable", 529, "overloaded_error"),
    ],
)
def test_our_own_refusals_may_be_tried_again_as_the_sdk_likes(error, status, code, their_status, their_kind):
    ours, theirs = errors.openai(error, "r1"), errors.anthropic(error, "r1")
    assert (ours.status, json.loads(ours.body)["error"]["code"]) == (status, code)
    assert (theirs.status, json.loads(theirs.body)["error"]["type"]) == (their_status, their_kind)
    assert b"x-should-retry" not in dict(ours.headers) | dict(theirs.headers)


@pytest.mark.parametrize(
    ("seconds", "header", "precise"),
    [(1.2, b"2", b"1200"), (0.0004, b"1", b"1"), (0.0, b"0", b"0"), (-3.0, b"0", b"0")],
)
def test_a_known_wait_is_told_in_seconds_and_in_milliseconds_and_never_too_short(seconds, header, precise):
    headers = dict(errors.openai(Unavailable("x", retry_after=seconds), "r1").headers)
    assert (headers[b"retry-after"], headers[b"retry-after-ms"]) == (header, precise)


def test_an_unknown_wait_is_not_told():
    for wait in (None, float("inf"), float("nan")):
        assert b"retry-after" not in dict(errors.openai(Unavailable("x", retry_after=wait), "r1").headers)


def test_the_place_of_a_fault_is_the_param():
    error = InvalidInput("x", faults=[Fault("/messages/0/content/12/text", "is missing")])
    assert errors.openai_error(error)["param"] == "messages[0].content[12].text"

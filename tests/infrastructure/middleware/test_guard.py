"""Every clause of "this machine only", one test each, and bodies counted while they come."""

import asyncio
import json
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive, Scope, Send

from tiebreak.infrastructure.middleware.guard import (
    BodyRules,
    Guard,
    foreign_page,
    refusal,
    unusable,
    wrong_body,
)

PORT = 8321
HOST = (b"host", b"localhost:8321")
RULES = BodyRules(
    json_limit=100,
    raw={"/api/v1/datasets": frozenset({"text/csv", "application/x-ndjson"})},
    raw_limit=1000,
    idle_seconds=0.05,
)


class Echo:
    """An application that reads the whole body and answers its length."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        length = 0
        while True:
            message = await receive()
            length += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(length).encode()})


async def ask(
    app, headers: Iterable[tuple[bytes, bytes]], *, method="GET", path="/x", body=(), endless=False
):
    """One request through `app`; gives the status and the body."""
    sent: list[Message] = []
    chunks = [*body, b""]

    async def receive() -> Message:
        if endless and len(chunks) == 1:
            await asyncio.Event().wait()
        chunk = chunks.pop(0) if chunks else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers), "query_string": b""}
    await app(scope, receive, send)
    status = next(message["status"] for message in sent if message["type"] == "http.response.start")
    return status, b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")


def detail(body: bytes) -> str:
    return json.loads(body)["detail"]


@pytest.mark.parametrize("host", ["localhost:8321", "127.0.0.1:8321", "[::1]:8321", "LOCALHOST:8321"])
def test_loopback_names_with_our_port_are_let_in(host):
    assert refusal([(b"host", host.encode())], PORT) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8321",
        "localhost",
        "localhost:80",
        "localhost:8321.evil.example",
        "localhost.:8321",
        "127.0.0.1:08321",
        "127.0.0.2:8321",
        "2130706433:8321",
        "user@localhost:8321",
        "",
    ],
)
def test_any_other_host_is_refused(host):
    error = refusal([(b"host", host.encode())], PORT)
    assert error is not None
    assert repr(host) in error.detail
    assert "127.0.0.1:8321" in error.detail


def test_no_host_and_two_hosts_are_refused():
    assert refusal([], PORT) is not None
    assert refusal([HOST, (b"host", b"127.0.0.1:8321")], PORT) is not None


def test_port_80_may_be_left_out():
    assert refusal([(b"host", b"localhost")], 80) is None


@pytest.mark.parametrize("origin", [b"http://localhost:8321", b"http://127.0.0.1:8321", b"http://[::1]:8321"])
def test_own_origin_is_let_in(origin):
    assert refusal([HOST, (b"origin", origin)], PORT) is None


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"null",
        b"http://localhost:3000",
        b"https://localhost:8321",
        b"http://localhost",
        b"",
    ],
)
def test_foreign_origin_is_refused(origin):
    error = refusal([HOST, (b"origin", origin)], PORT)
    assert error is not None
    assert "Origin" in error.detail


@pytest.mark.parametrize("site", [b"cross-site", b"same-site", b"Cross-Site", b"anything"])
def test_a_request_from_another_site_is_refused(site):
    error = refusal([HOST, (b"sec-fetch-site", site)], PORT)
    assert error is not None
    assert "Sec-Fetch-Site" in error.detail


@pytest.mark.parametrize("site", [b"same-origin", b"none"])
def test_own_pages_and_typed_addresses_are_let_in(site):
    assert refusal([HOST, (b"sec-fetch-site", site)], PORT) is None


@pytest.mark.parametrize(
    "name", [b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"]
)
def test_a_proxy_in_front_is_refused(name):
    error = refusal([HOST, (name, b"127.0.0.1")], PORT)
    assert error is not None
    assert repr(name.decode()) in error.detail


@pytest.mark.parametrize(
    "kind",
    [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"text/plain", b"text/csv"],
)
def test_only_json_bodies_are_taken(kind):
    error = wrong_body([(b"content-length", b"2"), (b"content-type", kind)], "/api/v1/tests", RULES)
    assert error is not None
    assert error.status == 415
    assert "application/json" in error.detail


def test_a_form_type_is_refused_even_without_a_body():
    error = wrong_body([(b"content-type", b"text/plain")], "/api/v1/tests/x/start", RULES)
    assert error is not None
    assert error.status == 415


def test_a_body_without_a_type_is_refused():
    announced = wrong_body([(b"content-length", b"2")], "/x", RULES)
    chunked = wrong_body([(b"transfer-encoding", b"chunked")], "/x", RULES)
    assert announced is not None
    assert chunked is not None
    assert announced.status == chunked.status == 415


def test_two_content_types_are_refused():
    both = [
        (b"content-length", b"2"),
        (b"content-type", b"application/json"),
        (b"content-type", b"text/plain"),
    ]
    error = wrong_body(both, "/x", RULES)
    assert error is not None
    assert error.status == 415


def test_json_with_a_charset_and_a_call_without_a_body_are_taken():
    typed = [(b"content-length", b"2"), (b"content-type", b"application/json; charset=utf-8")]
    assert wrong_body(typed, "/x", RULES) is None
    assert wrong_body([(b"content-length", b"0")], "/x", RULES) is None
    assert wrong_body([], "/x", RULES) is None


@pytest.mark.parametrize("kind", [b"text/csv", b"application/x-ndjson"])
def test_raw_types_are_taken_where_datasets_are_uploaded(kind):
    headers = [(b"content-length", b"500"), (b"content-type", kind)]
    assert wrong_body(headers, "/api/v1/datasets", RULES) is None


@pytest.mark.parametrize("kind", [b"multipart/form-data", b"text/plain", b"application/json"])
def test_an_upload_of_another_type_is_refused(kind):
    error = wrong_body([(b"content-length", b"5"), (b"content-type", kind)], "/api/v1/datasets", RULES)
    assert error is not None
    assert error.status == 415
    assert "application/x-ndjson or text/csv" in error.detail


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"+5", "²".encode("latin-1"), b""])
def test_a_content_length_that_is_no_number_is_refused(length):
    error = wrong_body([(b"content-length", length), (b"content-type", b"application/json")], "/x", RULES)
    assert error is not None
    assert error.status == 422


def test_two_different_content_lengths_are_refused():
    error = wrong_body([(b"content-length", b"5"), (b"content-length", b"6")], "/x", RULES)
    assert error is not None
    assert error.status == 422


def test_a_nul_character_in_the_address_is_refused():
    for path, query in (("/a\x00b", b""), ("/a", b"x=%00"), ("/a", b"x=\x00")):
        error = unusable(path, query)
        assert error is not None
        assert error.status == 422
    assert unusable("/a", b"x=%2500") is None


async def test_a_refused_request_never_reaches_the_application():
    app = Echo()
    status, body = await ask(Guard(app, PORT), [(b"host", b"evil.example")])
    assert status == 403
    assert "evil.example" in detail(body)
    assert app.calls == 0


async def test_a_good_request_passes_with_its_body():
    headers = [HOST, (b"content-length", b"4"), (b"content-type", b"application/json")]
    status, body = await ask(Guard(Echo(), PORT, RULES), headers, method="POST", body=[b"12", b"34"])
    assert (status, body) == (200, b"4")


async def test_an_announced_body_over_the_limit_is_refused_unread():
    app = Echo()
    headers = [HOST, (b"content-length", b"101"), (b"content-type", b"application/json")]
    status, body = await ask(Guard(app, PORT, RULES), headers, method="POST")
    assert status == 413
    assert "100 bytes" in detail(body)
    assert app.calls == 0


async def test_a_chunked_body_is_stopped_where_it_passes_the_limit():
    headers = [HOST, (b"transfer-encoding", b"chunked"), (b"content-type", b"application/json")]
    status, body = await ask(Guard(Echo(), PORT, RULES), headers, method="POST", body=[b"x" * 60] * 5)
    assert status == 413
    assert "100 bytes" in detail(body)


async def test_our_answer_stands_when_the_application_turns_the_stop_into_one_of_its_own():
    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while (await receive()).get("more_body"):
                pass
        except Exception:  # noqa: BLE001 -- as FastAPI does
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b"broken"})

    headers = [HOST, (b"transfer-encoding", b"chunked"), (b"content-type", b"application/json")]
    status, _ = await ask(Guard(stubborn, PORT, RULES), headers, method="POST", body=[b"x" * 200])
    assert status == 413


async def test_a_body_that_stops_coming_ends_in_408():
    headers = [HOST, (b"content-length", b"50"), (b"content-type", b"application/json")]
    status, body = await ask(Guard(Echo(), PORT, RULES), headers, method="POST", body=[b"12"], endless=True)
    assert status == 408
    assert "0.05 s" in detail(body)


async def test_an_error_of_the_application_stays_its_own():
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("ours")

    with pytest.raises(LookupError, match="ours"):
        await ask(Guard(broken, PORT), [HOST])


async def test_waiting_for_the_client_to_leave_has_no_deadline():
    """A stream listens for the disconnect far longer than a body may pause."""
    seen: list[str] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.sleep(4 * RULES.idle_seconds)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [HOST], "query_string": b""}
    await Guard(stream, PORT, RULES)(scope, receive, send)
    assert seen == ["http.disconnect"]


async def test_websockets_are_closed_and_lifespan_passes():
    sent: list[Message] = []
    app = Echo()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    guard = Guard(app, PORT)
    await guard({"type": "websocket", "path": "/", "headers": [HOST]}, receive, send)
    assert sent[0]["type"] == "websocket.close"
    assert app.calls == 0
    await guard({"type": "lifespan"}, receive, send)
    assert app.calls == 1


async def test_a_stopping_server_ends_its_streams_with_a_whole_answer():
    ended: list[str] = []
    sent: list[Message] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        ended.append((await receive())["type"])

    async def receive() -> Message:
        if not sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    stopping = asyncio.Event()
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [HOST], "query_string": b""}
    serving = asyncio.create_task(Guard(stream, PORT, RULES, stopping=stopping)(scope, receive, send))
    await asyncio.sleep(0.05)
    assert not serving.done()
    stopping.set()
    async with asyncio.timeout(5):
        await serving
    assert ended == ["http.disconnect"]
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_client_that_leaves_is_told_to_the_stream():
    seen: list[str] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return messages.pop()

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [HOST], "query_string": b""}
    await Guard(stream, PORT, RULES, stopping=asyncio.Event())(scope, receive, send)
    assert seen == ["http.disconnect"]


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_told_to_the_application():
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([(await receive())["type"], (await receive())["type"]])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    messages: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"1", "more_body": True},
    ]

    async def receive() -> Message:
        return messages.pop()

    async def send(message: Message) -> None:
        pass

    headers = [HOST, (b"content-length", b"9"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": headers, "query_string": b""}
    await Guard(app, PORT, RULES)(scope, receive, send)
    assert seen == ["http.request", "http.disconnect"]


LOCKED_HOST = (b"host", b"tiebreak.example:8321")


@pytest.mark.parametrize(
    "headers",
    [
        [LOCKED_HOST],
        [LOCKED_HOST, (b"forwarded", b"for=203.0.113.9"), (b"x-forwarded-for", b"203.0.113.9")],
        [LOCKED_HOST, (b"origin", b"http://tiebreak.example:8321")],
        [LOCKED_HOST, (b"origin", b"https://TIEBREAK.example:8321")],
        [LOCKED_HOST, (b"sec-fetch-site", b"same-origin")],
        [HOST, (b"origin", b"http://localhost:8321")],
    ],
)
def test_with_keys_any_name_and_any_proxy_may_bring_a_request(headers):
    assert foreign_page(headers) is None


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ([], "Host"),
        ([LOCKED_HOST, HOST], "Host"),
        ([LOCKED_HOST, (b"origin", b"https://evil.example")], "Origin"),
        ([LOCKED_HOST, (b"origin", b"null")], "Origin"),
        ([LOCKED_HOST, (b"origin", b"https://tiebreak.example")], "Origin"),
        ([LOCKED_HOST, (b"origin", b"ftp://tiebreak.example:8321")], "Origin"),
        ([LOCKED_HOST, (b"sec-fetch-site", b"cross-site")], "Sec-Fetch-Site"),
        ([LOCKED_HOST, (b"sec-fetch-site", b"same-site")], "Sec-Fetch-Site"),
    ],
)
def test_with_keys_another_sites_page_stays_out(headers, word):
    error = foreign_page(headers)
    assert error is not None
    assert word in error.detail

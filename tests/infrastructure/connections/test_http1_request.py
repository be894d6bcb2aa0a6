"""What is written for a request, byte by byte, and which URLs are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.infrastructure.connections.http import AddressRefused, ConnectFailed, HttpRequest
from tiebreak.infrastructure.connections.http1_request import encode, target_of
from tiebreak.infrastructure.connections.http_headers import header_lines
from tiebreak.infrastructure.connections.proxy import Proxy, proxy_of


def written(request: HttpRequest) -> bytes:
    return encode(request, target_of(request.url))


def test_a_post_is_written_with_its_length_and_what_it_left_out():
    request = HttpRequest("POST", "https://api.example/v1/chat?x=1", {"X-Key": "k", "Accept": "a/b"}, b"{}")
    assert written(request) == (
        b"POST /v1/chat?x=1 HTTP/1.1\r\nhost: api.example\r\nX-Key: k\r\nAccept: a/b\r\n"
        b"accept-encoding: identity\r\nuser-agent: tiebreak\r\ncontent-length: 2\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "body", "length"), [("GET", None, None), ("GET", b"ab", b"2"), ("POST", None, b"0")]
)
def test_a_length_is_written_where_there_may_be_a_body(method, body, length):
    lines = written(HttpRequest(method, "http://x/", {}, body)).split(b"\r\n")
    assert [line for line in lines if line.startswith(b"content-length")] == (
        [] if length is None else [b"content-length: " + length]
    )


@pytest.mark.parametrize(
    ("url", "origin", "host"),
    [
        ("http://h", "http://h:80", "h"),
        ("https://h:443/", "https://h:443", "h"),
        ("http://h:8080/", "http://h:8080", "h:8080"),
        ("http://[::1]:8080/", "http://::1:8080", "[::1]:8080"),
        ("http://bücher.example/", "http://xn--bcher-kva.example:80", "xn--bcher-kva.example"),
    ],
)
def test_origins_tell_connections_apart(url, origin, host):
    target = target_of(url)
    assert target.origin == origin
    assert f"host: {host}\r\n" in target.start


@pytest.mark.parametrize(
    "url",
    ["", "h/x", "ftp://h/", "http:///x", "http://u:p@h/", "http://h:99999/", "http://[::1/", "http://h:0/"],
)
def test_what_does_not_name_its_host_plainly_is_refused(url):
    with pytest.raises(AddressRefused):
        target_of(url)


@given(path=st.text(max_size=40))
def test_no_path_breaks_out_of_its_line(path):
    try:
        target = target_of(f"http://h/{path}")
    except AddressRefused:
        return
    assert target.start.count("\n") == 2
    assert target.start.split(" HTTP/1.1\r\n")[0].isascii()
    assert " " not in target.start.split(" HTTP/1.1\r\n")[0]


@given(headers=st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4))
def test_headers_are_one_line_each_or_refused(headers):
    try:
        lines = header_lines(headers)
    except ValueError:
        return
    found = [line.partition(": ") for line in lines.split("\r\n")[:-1]]
    assert [(name, value) for name, _, value in found] == list(headers.items())


def test_a_refused_header_is_named_and_its_value_is_not_told():
    with pytest.raises(ValueError, match="'x-key'") as caught:
        header_lines({"x-key": "sk-secret\n"})
    assert "sk-secret" not in str(caught.value)


def test_a_proxy_is_read_from_its_url():
    assert proxy_of("http://proxy.example:3128") == Proxy("proxy.example", 3128)
    assert proxy_of("http://me:p%40ss@proxy.example") == Proxy("proxy.example", 80, "Basic bWU6cEBzcw==")
    assert "Basic" not in repr(proxy_of("http://me:p@proxy.example"))


@pytest.mark.parametrize("url", ["socks5://h:1080", "h:3128", "http://:secret@", "http://h:99999"])
def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(url):
    with pytest.raises(ConnectFailed, match="http://") as caught:
        proxy_of(url)
    assert "secret" not in str(caught.value)

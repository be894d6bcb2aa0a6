"""Which addresses may be called: the rules, and what a stored URL may look like."""

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.errors import InvalidInput
from tiebreak.infrastructure.connections.addresses import check_url, kind, refusal, same_origin

KINDS = {
    "public": [
        "93.184.215.14",
        "2606:2800:21f:cb07::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::",
    ],
    "loopback": [
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        # Teredo carries the address inverted.
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
    "private": [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "fd00::1",
        "fc00::1",
        "::ffff:10.0.0.1",
        "198.18.0.1",
        "192.0.2.1",
        "2001:db8::1",
    ],
    "never": [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "fd00:ec2::254",
        "100.100.100.200",
    ],
}


@pytest.mark.parametrize(("expected", "address"), [(k, a) for k, many in KINDS.items() for a in many])
def test_every_address_belongs_to_its_group(expected, address):
    assert kind(ipaddress.ip_address(address)) == expected


@pytest.mark.parametrize(
    ("outbound", "allowed"),
    [
        ("public", {"public"}),
        ("loopback", {"public", "loopback"}),
        ("private", {"public", "loopback", "private"}),
    ],
)
def test_each_setting_allows_more_than_the_one_before(outbound, allowed):
    for group, addresses in KINDS.items():
        for address in addresses:
            assert (refusal(address, outbound) is None) == (group in allowed), address


@given(st.ip_addresses(), st.sampled_from(["public", "loopback", "private"]))
def test_what_is_not_global_is_never_public(address, outbound):
    if not address.is_global:
        assert kind(address) != "public" or address.version == 6
    if address.is_link_local:
        assert refusal(str(address), outbound) is not None


def test_a_zone_does_not_hide_an_address():
    assert refusal("fe80::1%eth0", "private") is not None
    assert refusal("::1%lo", "loopback") is None


def test_what_is_no_address_is_refused():
    assert "not an IP address" in str(refusal("localhost", "private"))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("http://localhost:8080/v1", "http://localhost:8080/v1"),
        ("https://bücher.example/v1", "https://bücher.example/v1"),
    ],
)
def test_a_usable_url_is_kept_without_its_last_slash(url, kept):
    assert check_url(url, "loopback") == kept


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "http:// or https://"),
        ("api.openai.com/v1", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("gopher://example.org", "http:// or https://"),
        ("http://", "http:// or https://"),
        ("http:///v1", "http:// or https://"),
        ("http://user@example.org", "user name"),
        ("http://user:secret@example.org", "user name"),
        ("http://@example.org", "user name"),
        ("http://example.org#@10.0.0.1", "fragment"),
        ("http://example.org#", "fragment"),
        ("http://example.org/v1?key=1", "query"),
        ("http://example.org:0/", "port 0"),
        ("http://example.org:99999/", "is not a URL"),
        ("http://[::1", "is not a URL"),
        ("http://exa mple.org", "space"),
        ("http://example.org\\@10.0.0.1", "backslash"),
        ("http://example.org\r\nx: y", "control"),
        ("http://2130706433/", "write 127.0.0.1"),
        ("http://0x7f000001/", "write 127.0.0.1"),
        ("http://0x7f.1/", "write 127.0.0.1"),
        ("http://0177.0.0.1/", "0177.0.0.1"),
        ("http://127.1/", "write 127.0.0.1"),
        ("http://127.0.0.1./", "write 127.0.0.1"),
        ("http://999999999999/", "write nowhere"),
        ("http://169.254.169.254/latest", "no setting allows"),
        ("http://[fe80::1]/", "no setting allows"),
        ("http://0.0.0.0:8000", "no setting allows"),
        ("http://[::ffff:169.254.169.254]/", "no setting allows"),
        ("http://10.1.2.3/", "TIEBREAK_OUTBOUND=private"),
        ("http://[fd00::1]/", "TIEBREAK_OUTBOUND=private"),
        ("http://100.64.0.1/", "TIEBREAK_OUTBOUND=private"),
    ],
)
def test_an_unusable_url_is_refused_with_its_text_and_the_reason(url, reason):
    with pytest.raises(InvalidInput) as caught:
        check_url(url, "loopback")
    assert reason in caught.value.detail
    assert caught.value.faults[0].pointer == "/base_url"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "http://localhost", "http://x.localhost.", "http://[::1]"]
)
def test_this_machine_is_refused_where_only_the_public_is_allowed(url):
    with pytest.raises(InvalidInput, match="TIEBREAK_OUTBOUND=loopback"):
        check_url(url, "public")


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_invalid_input(text):
    for url in (text, f"http://{text}"):
        with suppress(InvalidInput):
            assert url.startswith(check_url(url, "public"))


def test_a_password_in_a_url_is_not_repeated():
    with pytest.raises(InvalidInput) as caught:
        check_url("http://me:hunter2@example.org/", "public")
    assert "hunter2" not in caught.value.detail


def test_an_origin_is_scheme_host_and_port():
    assert same_origin("https://a.example/v1", "https://a.example:443/v2")
    assert not same_origin("https://a.example/v1", "http://a.example/v1")
    assert not same_origin("https://a.example/v1", "https://b.example/v1")

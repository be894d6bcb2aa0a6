"""The way to a vendor: taken only if it can be used, kept sealed, and never a way to somebody else's hands for the key."""

import os
from pathlib import Path

import pytest
from sqlalchemy import select, update
from tests.certificates import Authority, authority
from tests.upstream import SECRET, http, upstream

from tiebreak.errors import InvalidInput, Misconfigured
from tiebreak.infrastructure.connections.http import Route
from tiebreak.providers import service
from tiebreak.providers.route_checks import check_files, check_proxy
from tiebreak.providers.secrets import Keyring
from tiebreak.providers.service import Changes, NewProvider
from tiebreak.providers.tables import providers

PROXY = "http://me:pw-sentinel@127.0.0.1:3128"
OTHER_PROXY = "http://127.0.0.1:3129"
URL = "/api/v1/providers/acme"


@pytest.fixture
def company(tmp_path: Path) -> Authority:
    return authority(tmp_path)


async def create(api, **values):
    answer = await api.post(
        "/api/v1/providers", json={"name": "acme", "base_url": "https://127.0.0.1:1/v1"} | values
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def faults(answer) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [fault["pointer"] for fault in answer.json()["errors"]]


async def test_an_account_has_the_route_that_was_stored(database, keyring, company):
    identity = company.issue("client")
    route = {
        "proxy": PROXY,
        "ca_bundle": company.bundle,
        "client_certificate": identity,
        "client_key": identity,
    }
    async with database.transaction() as tx:
        new = NewProvider("acme", "https://127.0.0.1:1", secret=SECRET, route=route)
        made = await service.create(tx, new, keyring, "loopback")
        account = await service.account(tx, made.id, keyring)
        row = (await tx.execute(select(providers))).one()
    assert (account.secret, account.route) == (SECRET, Route(**route))
    assert (made.has_proxy, made.ca_bundle, made.client_key) == (True, company.bundle, identity)
    assert "sentinel" not in repr(row)


async def test_a_route_is_shown_without_its_proxy_and_null_removes_it(api, company):
    identity = company.issue("client")
    made = await create(api, proxy=PROXY, ca_bundle=company.bundle, client_certificate=identity)
    assert (made["has_proxy"], made["ca_bundle"]) == (True, company.bundle)
    assert (made["client_certificate"], made["client_key"]) == (identity, None)
    assert "sentinel" not in str(made)
    kept = (await api.patch(URL, json={"max_retries": 1})).json()
    assert (kept["has_proxy"], kept["client_certificate"]) == (True, identity)
    gone = await api.patch(URL, json={"proxy": None, "ca_bundle": None, "client_certificate": None})
    assert (gone.json()["has_proxy"], gone.json()["ca_bundle"]) == (False, None)
    assert gone.json()["client_certificate"] is None


async def test_a_call_goes_through_the_proxy_of_its_account(api):
    async with upstream(http({"data": [{"id": "small"}]})) as proxy:
        host = proxy.url.removeprefix("http://")
        await create(api, base_url="http://127.0.0.1:9/v1", proxy=f"http://me:pw-sentinel@{host}")
        await api.post(f"{URL}/test", json={})
    assert proxy.received, "the proxy was asked"
    assert proxy.received[0].headers["proxy-authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("https://127.0.0.1:3128", "http://[user:password@]host:port"),
        ("127.0.0.1:3128", "http://[user:password@]host:port"),
        ("http://a b:3128", "http://[user:password@]host:port"),
        ("http://:pw-sentinel@:99", "http://[user:password@]host:port"),
        ("http://me:pw-sentinel@10.0.0.8:3128", "TIEBREAK_OUTBOUND=private"),
        ("http://me:pw-sentinel@169.254.169.254:80", "no setting allows"),
        ("http://me:pw-sentinel@2130706433:80", "127.0.0.1"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(api, proxy, words):
    answer = await api.post(
        "/api/v1/providers", json={"name": "acme", "base_url": "https://x.example", "proxy": proxy}
    )
    assert faults(answer) == ["/proxy"]
    assert words in answer.text
    assert "sentinel" not in answer.text


def test_a_public_setting_refuses_a_proxy_on_this_machine():
    check_proxy(PROXY, "loopback")
    with pytest.raises(InvalidInput, match="TIEBREAK_OUTBOUND=loopback"):
        check_proxy(PROXY, "public")


@pytest.mark.parametrize("field", ["ca_bundle", "client_certificate"])
async def test_a_file_that_cannot_be_used_is_refused_with_its_reason(api, tmp_path, field):
    (tmp_path / "words.pem").write_text("no certificate")
    os.mkfifo(tmp_path / "pipe.pem")
    for path, words in {
        "words.pem": "words.pem",
        str(tmp_path / "words.pem"): "PEM",
        str(tmp_path / "missing.pem"): "No such file",
        str(tmp_path): "not a plain file",
        str(tmp_path / "pipe.pem"): "not a plain file",
        "/dev/zero": "not a plain file",
    }.items():
        answer = await api.post(
            "/api/v1/providers", json={"name": "acme", "base_url": "https://x.example", field: path}
        )
        assert faults(answer) == [f"/{field}"]
        assert words in answer.json()["detail"]


def test_a_key_goes_with_a_certificate(company):
    identity = company.issue("client")
    check_files(Route(client_certificate=identity, client_key=identity))
    with pytest.raises(InvalidInput, match="client_key goes with a client_certificate"):
        check_files(Route(client_key=identity))
    with pytest.raises(InvalidInput, match=r"client certificate .*authority\.pem"):
        check_files(Route(client_certificate=company.bundle))


async def test_a_file_that_has_gone_is_no_reason_to_refuse_other_changes(api, company):
    bundle = company.bundle
    await create(api, ca_bundle=bundle)
    Path(bundle).unlink()
    assert (await api.patch(URL, json={"max_retries": 1})).status_code == 200
    assert faults(await api.patch(URL, json={"ca_bundle": bundle})) == ["/ca_bundle"]


async def test_a_stored_key_does_not_follow_through_a_new_proxy(api):
    await create(api, api_key=SECRET)
    assert faults(await api.patch(URL, json={"proxy": PROXY})) == ["/api_key"]
    assert (await api.patch(URL, json={"proxy": PROXY, "api_key": SECRET})).json()["has_proxy"] is True
    assert (await api.patch(URL, json={"proxy": PROXY})).status_code == 200
    assert faults(await api.patch(URL, json={"proxy": OTHER_PROXY})) == ["/api_key"]
    assert (await api.patch(URL, json={"proxy": None})).json()["has_proxy"] is False
    without = await api.patch(URL, json={"proxy": OTHER_PROXY, "api_key": None})
    assert (without.json()["has_proxy"], without.json()["has_secret"]) == (True, False)


async def test_a_stored_key_is_not_told_to_whom_a_new_authority_vouches_for(api, company):
    await create(api, api_key=SECRET)
    assert faults(await api.patch(URL, json={"ca_bundle": company.bundle})) == ["/api_key"]
    given = await api.patch(URL, json={"ca_bundle": company.bundle, "api_key": SECRET})
    assert given.json()["ca_bundle"] == company.bundle
    assert (await api.patch(URL, json={"ca_bundle": company.bundle})).status_code == 200
    assert (await api.patch(URL, json={"ca_bundle": None})).status_code == 200


async def test_a_proxy_that_cannot_be_opened_is_named_and_may_be_entered_again(database, keyring):
    other = Keyring.open(None, "A" * 43 + "=")
    async with database.transaction() as tx:
        new = NewProvider("acme", "https://127.0.0.1:1", route={"proxy": PROXY})
        made = await service.create(tx, new, keyring, "loopback")
        assert await service.unreadable(tx, keyring) == []
        assert await service.unreadable(tx, other) == ["acme"]
        with pytest.raises(Misconfigured, match="the proxy of provider 'acme' cannot be opened"):
            await service.account(tx, made.id, other)
        await service.change(tx, "acme", Changes(route={"proxy": OTHER_PROXY}), other, "loopback")
        assert (await service.account(tx, made.id, other)).route == Route(proxy=OTHER_PROXY)


async def test_a_sealed_proxy_put_in_the_place_of_the_secret_does_not_open(database, keyring):
    async with database.transaction() as tx:
        new = NewProvider("acme", "https://127.0.0.1:1", secret=SECRET, route={"proxy": PROXY})
        made = await service.create(tx, new, keyring, "loopback")
        await tx.execute(update(providers).values(secret=providers.c.proxy, proxy=providers.c.secret))
        with pytest.raises(Misconfigured, match="another row"):
            await service.account(tx, made.id, keyring)

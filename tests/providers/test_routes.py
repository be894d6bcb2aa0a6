"""`/api/v1/providers` over a real database and real vendors on loopback."""

from uuid import UUID

import pytest
from tests.upstream import SECRET, completion, http, upstream

NEW = {"name": "acme", "base_url": "http://127.0.0.1:1/v1/", "api_key": SECRET}


async def create(api, **changes):
    answer = await api.post("/api/v1/providers", json=NEW | changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_provider_is_stored_and_shown_without_its_secret(api):
    made = await create(api)
    assert UUID(made.pop("id")).version == 7
    assert made.pop("created_at") == made.pop("updated_at")
    assert made == {
        "name": "acme",
        "dialect": "openai_compatible",
        "preset": None,
        "base_url": "http://127.0.0.1:1/v1",
        "has_secret": True,
        "concurrency": 64,
        "timeout_seconds": 60.0,
        "max_retries": 3,
        "batch_config": {"max_batch_size": 10, "batch_timeout_ms": 100},
        "cache_enabled": True,
        "cache_ttl_seconds": 300,
        "has_proxy": False,
        "ca_bundle": None,
        "client_certificate": None,
        "client_key": None,
    }
    shown = await api.get("/api/v1/providers/acme")
    listed = await api.get("/api/v1/providers")
    assert listed.json()["data"] == [shown.json()]
    assert SECRET not in shown.text + listed.text


async def test_a_name_is_taken_once(api):
    await create(api)
    answer = await api.post("/api/v1/providers", json=NEW)
    assert answer.status_code == 409
    assert "'acme' already" in answer.json()["detail"]


async def test_the_same_idempotency_key_makes_one_provider(api):
    first, again = [
        await api.post("/api/v1/providers", json=NEW, headers={"Idempotency-Key": "once"}) for _ in range(2)
    ]
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert len((await api.get("/api/v1/providers")).json()["data"]) == 1


async def test_pages_follow_each_other(api):
    for name in ("a", "b", "c"):
        await create(api, name=name)
    first = (await api.get("/api/v1/providers", params={"limit": 2})).json()
    rest = (await api.get("/api/v1/providers", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [row["name"] for row in first["data"] + rest["data"]] == ["a", "b", "c"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "http://169.254.169.254/v1"}, ["169.254.169.254", "no setting allows"]),
        ({"base_url": "http://10.0.0.8/v1"}, ["10.0.0.8", "TIEBREAK_OUTBOUND=private"]),
        ({"base_url": "ftp://example.org"}, ["http:// or https://"]),
        ({"base_url": "http://me:secret@example.org"}, ["user name"]),
        ({"base_url": "http://a\x00b"}, ["NUL"]),
        ({"dialect": "smoke-signals"}, ["openai_compatible"]),
        ({"preset": "smoke-signals"}, ["/preset", "no preset 'smoke-signals'", "groq"]),
        ({"preset": "groq", "dialect": "openai"}, ["'groq' decides the dialect"]),
        ({"base_url": None}, ["needs a `base_url`, or a `preset`"]),
        ({"name": "No Spaces"}, ["/name"]),
        ({"api_key": "two words"}, ["visible ASCII"]),
        ({"concurrency": 0}, ["/concurrency"]),
        ({"concurrency": 2**70}, ["/concurrency"]),
        ({"timeout_seconds": -1}, ["/timeout_seconds"]),
        ({"batch_config": {"max_batch_size": 0}}, ["/batch_config/max_batch_size"]),
        ({"batch_config": {"max_batch_size": 2049}}, ["/batch_config/max_batch_size", "2048"]),
        ({"batch_config": {"batch_timeout_ms": 10_001}}, ["/batch_config/batch_timeout_ms", "10000"]),
        ({"batch_config": {"size": 3}}, ["/batch_config/size"]),
        ({"cache_ttl_seconds": 0}, ["/cache_ttl_seconds"]),
        ({"cache_enabled": "perhaps"}, ["/cache_enabled"]),
        ({"unheard_of": 1}, ["/unheard_of"]),
    ],
)
async def test_what_cannot_be_a_provider_is_refused_with_its_place(api, changes, words):
    answer = await api.post("/api/v1/providers", json=NEW | changes)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    for word in words:
        assert word in answer.text
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"preset": "groq"}, ("openai_compatible", "groq", "https://api.groq.com/openai/v1")),
        ({"preset": "anthropic"}, ("anthropic", None, "https://api.anthropic.com")),
        (
            {"preset": "vllm", "base_url": "http://127.0.0.1:9/v1"},
            ("openai_compatible", "vllm", "http://127.0.0.1:9/v1"),
        ),
        (
            {"dialect": "azure_openai", "base_url": "https://x.example"},
            ("azure_openai", None, "https://x.example"),
        ),
    ],
    ids=["groq", "anthropic", "vllm", "azure"],
)
async def test_a_preset_knows_the_dialect_and_the_address(api, asked, shown):
    answer = await api.post("/api/v1/providers", json={"name": "acme", **asked})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["dialect"], made["preset"], made["base_url"]) == shown


async def test_a_refused_key_is_not_repeated(api):
    answer = await api.post("/api/v1/providers", json=NEW | {"api_key": SECRET + " "})
    assert answer.status_code == 422
    assert SECRET not in answer.text


async def test_a_provider_changes_in_what_is_named_only(api):
    await create(api)
    changed = (await api.patch("/api/v1/providers/acme", json={"max_retries": 7})).json()
    assert (changed["max_retries"], changed["concurrency"], changed["has_secret"]) == (7, 64, True)
    assert changed["updated_at"] > changed["created_at"]
    same = (await api.patch("/api/v1/providers/acme", json={})).json()
    assert same["max_retries"] == 7


async def test_the_whole_configuration_is_taken_and_changed_in_parts(api):
    made = await create(
        api,
        timeout_seconds=5,
        max_retries=0,
        batch_config={"max_batch_size": 64},
        cache_enabled=False,
        cache_ttl_seconds=60,
    )
    assert (made["timeout_seconds"], made["max_retries"]) == (5.0, 0)
    assert made["batch_config"] == {"max_batch_size": 64, "batch_timeout_ms": 100}
    assert (made["cache_enabled"], made["cache_ttl_seconds"]) == (False, 60)
    patch = {"batch_config": {"batch_timeout_ms": 0}, "cache_enabled": None, "cache_ttl_seconds": 90}
    changed = (await api.patch("/api/v1/providers/acme", json=patch)).json()
    assert changed["batch_config"] == {"max_batch_size": 64, "batch_timeout_ms": 0}
    assert (changed["cache_enabled"], changed["cache_ttl_seconds"]) == (False, 90)
    assert changed["timeout_seconds"] == 5.0


async def test_null_removes_the_secret(api):
    await create(api)
    changed = (await api.patch("/api/v1/providers/acme", json={"api_key": None})).json()
    assert changed["has_secret"] is False


async def test_a_stored_secret_does_not_follow_to_another_server(api):
    await create(api)
    elsewhere = {"base_url": "https://evil.example/v1"}
    refused = await api.patch("/api/v1/providers/acme", json=elsewhere)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/api_key"
    moved = await api.patch("/api/v1/providers/acme", json=elsewhere | {"api_key": "sk-new"})
    assert moved.json()["base_url"] == "https://evil.example/v1"
    same_server = await api.patch("/api/v1/providers/acme", json={"base_url": "https://evil.example/v2"})
    assert same_server.status_code == 200


async def test_a_removed_provider_is_gone(api):
    await create(api)
    assert (await api.delete("/api/v1/providers/acme")).status_code == 204
    for call in (api.get, api.delete):
        answer = await call("/api/v1/providers/acme")
        assert answer.status_code == 404
        assert "no provider 'acme'" in answer.json()["detail"]
    assert (await api.patch("/api/v1/providers/acme", json={})).status_code == 404


async def test_a_model_has_its_list_price_until_somebody_says_otherwise(api):
    await create(api)
    url = "/api/v1/providers/acme/models/gpt-4o"
    assert (await api.get(url)).json() == {
        "name": "gpt-4o",
        "input_price": 2.5,
        "output_price": 10.0,
        "cached_input_price": 1.25,
        "source": "list",
        "valid_from": None,
        "prices": [],
    }
    put = await api.put(url, json={"input_price": 0.1, "output_price": 0})
    own = {"input_price": 0.1, "output_price": 0.0, "cached_input_price": None, "valid_from": None}
    assert put.json() == {"name": "gpt-4o", **own, "source": "override", "prices": [own]}
    assert (await api.get("/api/v1/providers/acme/models")).json() == {
        "data": [put.json()],
        "next_cursor": None,
    }
    again = await api.put(url, json={})
    assert again.json()["source"] == "list"
    assert (await api.delete(url)).status_code == 204
    assert (await api.delete(url)).status_code == 404


async def test_prices_have_dates_and_one_of_them_may_be_forgotten(api):
    await create(api)
    url = "/api/v1/providers/acme/models/small"
    first = {"input_price": 1, "output_price": 2, "cached_input_price": 0.1}
    await api.put(url, json=first)
    await api.put(url, json={"input_price": 3, "output_price": 4, "valid_from": "2026-01-01"})
    later = {"input_price": 5, "output_price": 6, "valid_from": "2999-01-01T01:00:00+01:00"}
    shown = (await api.put(url, json=later)).json()
    assert (shown["input_price"], shown["cached_input_price"]) == (3.0, None)
    assert shown["valid_from"] == "2026-01-01T00:00:00Z"
    assert [(price["valid_from"], price["input_price"]) for price in shown["prices"]] == [
        (None, 1.0),
        ("2026-01-01T00:00:00Z", 3.0),
        ("2999-01-01T00:00:00Z", 5.0),
    ]
    assert (await api.get("/api/v1/providers/acme/models")).json()["data"] == [shown]
    for code in (204, 404):
        answer = await api.delete(url, params={"valid_from": "2026-01-01T00:00:00Z"})
        assert answer.status_code == code
    assert (await api.get(url)).json()["cached_input_price"] == 0.1
    assert (await api.delete(url, params={"valid_from": "1970-01-01"})).status_code == 204
    assert (await api.get(url)).json()["source"] is None


@pytest.mark.parametrize(
    "moment", ["2026-01-01T00:00:00", "soon", 1767225600, "1767225600", "1969-01-01", "9999-12-31"]
)
async def test_a_date_that_is_none_is_refused_with_the_form(api, moment):
    await create(api)
    price = {"input_price": 1, "output_price": 2, "valid_from": moment}
    answer = await api.put("/api/v1/providers/acme/models/small", json=price)
    assert answer.status_code == 422
    assert "/valid_from" in answer.text
    assert "2026-07-01T08:00:00+02:00" in answer.text


async def test_a_model_name_may_hold_slashes(api):
    await create(api)
    url = "/api/v1/providers/acme/models/meta/llama-9:free"
    assert (await api.get(url)).json()["source"] is None
    assert (await api.put(url, json={"input_price": 1, "output_price": 2})).json()[
        "name"
    ] == "meta/llama-9:free"


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ({"input_price": -1, "output_price": 2}, "input_price is -1; a price is 0 to"),
        ({"input_price": 1, "output_price": 1e12}, "output_price is 1e+12"),
        ({"input_price": 1}, "output_price is missing"),
        ({"output_price": 1}, "input_price is missing"),
        ({"input_price": "NaN", "output_price": 2}, "/input_price"),
        ({"input_price": 1, "output_price": 2, "cached_input_price": -3}, "cached_input_price is -3"),
        ({"valid_from": "2026-01-01"}, "input_price and output_price are missing"),
    ],
)
async def test_an_impossible_price_is_refused_by_name(api, prices, words):
    await create(api)
    answer = await api.put("/api/v1/providers/acme/models/small", json=prices)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


async def test_pages_of_models_follow_each_other(api):
    await create(api)
    for name in ("a", "b", "c"):
        await api.put(f"/api/v1/providers/acme/models/{name}", json={})
    url = "/api/v1/providers/acme/models"
    first = (await api.get(url, params={"limit": 2})).json()
    rest = (await api.get(url, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [row["name"] for row in first["data"] + rest["data"]] == ["a", "b", "c"]


async def test_models_of_an_unknown_provider_are_not_found(api):
    assert (await api.get("/api/v1/providers/nobody/models")).status_code == 404


async def test_a_model_name_with_a_control_character_is_refused(api):
    await create(api)
    assert (await api.get("/api/v1/providers/acme/models/a%00b")).status_code == 422


async def test_the_connection_test_lists_what_the_account_reaches(api):
    async with upstream(http({"data": [{"id": "small"}, {"id": "large"}]})) as vendor:
        await create(api, base_url=vendor.url + "/v1")
        found = (await api.post("/api/v1/providers/acme/test", json={})).json()
    assert (found["ok"], found["models"]) == (True, ["large", "small"])
    assert found["latency_ms"] > 0
    (asked,) = vendor.received
    assert (asked.method, asked.path, asked.headers["authorization"]) == (
        "GET",
        "/v1/models",
        f"Bearer {SECRET}",
    )


async def test_the_connection_test_of_a_model_asks_for_one_token(api):
    async with upstream(http(completion())) as vendor:
        await create(api, base_url=vendor.url)
        found = (await api.post("/api/v1/providers/acme/test", json={"model": "small"})).json()
    assert (found["ok"], found["models"]) == (True, ["small-2026"])
    assert vendor.received[0].json()["max_tokens"] == 1


async def test_the_connection_test_uses_the_other_name_of_the_limit_where_the_first_is_refused(api):
    refusal = http({"error": {"message": "use max_completion_tokens", "code": "unsupported_parameter"}}, 400)
    async with upstream(refusal, http(completion())) as vendor:
        await create(api, base_url=vendor.url)
        found = (await api.post("/api/v1/providers/acme/test", json={"model": "small"})).json()
    assert found["ok"] is True
    assert vendor.received[1].json()["max_completion_tokens"] == 1


async def test_the_connection_test_tells_a_refused_key_without_showing_it(api):
    echo = {"error": {"message": f"Incorrect API key provided: {SECRET}", "code": "invalid_api_key"}}
    async with upstream(http(echo, 401)) as vendor:
        await create(api, base_url=vendor.url)
        answers = [
            await api.post("/api/v1/providers/acme/test", json=body) for body in ({}, {"model": "small"})
        ]
    for answer in answers:
        found = answer.json()
        assert (found["ok"], found["models"]) == (False, [])
        assert "401: Incorrect API key provided: [redacted]" in found["detail"]
        assert SECRET not in answer.text

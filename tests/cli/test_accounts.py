"""`tiebreak provider apply` over the app in this process: what it did, and where the file is wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from tiebreak.cli.accounts import apply_file, told
from tiebreak.cli.connection import Connection, connect
from tiebreak.errors import InvalidInput
from tiebreak.settings import Settings

KEY = "sk-sentinel-0123456789"
ENVIRON = {"ACME_KEY": KEY, "ACME_PROXY": "http://me:pw-sentinel@127.0.0.1:3128"}
FILE = """\
providers:
  - name: acme
    base_url: https://acme.example/v1/
    api_key_env: ACME_KEY
    proxy_env: ACME_PROXY
    max_retries: 5
    batch_config: {max_batch_size: 64}
    models:
      org/large: {input_price: 3, output_price: 15, cached_input_price: 0.3}
      small: {input_price: 0.25, output_price: 2, valid_from: "2026-01-01"}
  - name: local
    preset: ollama
    cache_enabled: false
"""


@asynccontextmanager
async def open_api(home: Path, dsn: str) -> AsyncIterator[Connection]:
    async with connect(Settings(home=home / "home", database_url=SecretStr(dsn)), None) as api:
        yield api


@pytest.fixture
async def shell(tmp_path: Path, dsn: str) -> AsyncIterator[SimpleNamespace]:
    """`apply(text)` gives the lines the user sees."""
    async with open_api(tmp_path, dsn) as api:
        file = tmp_path / "accounts.yaml"

        async def apply(text: str, **environ: str) -> list[str]:
            file.write_text(text)
            return [told(done) async for done in apply_file(api, file, ENVIRON | environ)]

        yield SimpleNamespace(apply=apply, api=api)


def changed(old: str, new: str) -> str:
    assert old in FILE
    return FILE.replace(old, new, 1)


async def test_a_file_creates_its_accounts_and_a_second_time_changes_nothing(shell):
    assert await shell.apply(FILE) == ["acme: created; prices of org/large, small", "local: created"]
    before = await shell.api.get("/providers/local")
    assert await shell.apply(FILE) == ["acme: unchanged; proxy and api_key entered again", "local: unchanged"]
    assert await shell.api.get("/providers/local") == before
    acme = await shell.api.get("/providers/acme")
    assert (acme["has_secret"], acme["has_proxy"], acme["max_retries"]) == (True, True, 5)
    assert acme["batch_config"] == {"max_batch_size": 64, "batch_timeout_ms": 100}
    small = await shell.api.get("/providers/acme/models/small")
    assert (small["input_price"], small["valid_from"]) == (0.25, "2026-01-01T00:00:00Z")
    assert (before["preset"], before["cache_enabled"]) == ("ollama", False)


async def test_what_differs_is_changed_and_named_and_the_rest_stays(shell):
    await shell.apply(FILE)
    await shell.api.send("PATCH", "/providers/local", {"concurrency": 3})
    text = changed("max_retries: 5", "max_retries: 1").replace("64}", "64, batch_timeout_ms: 20}")
    text = text.replace("input_price: 3,", "input_price: 4,").replace(
        "cache_enabled: false", "cache_enabled: true"
    )
    assert await shell.apply(text) == [
        "acme: changed max_retries, batch_config; proxy and api_key entered again; prices of org/large",
        "local: changed cache_enabled",
    ]
    assert (await shell.api.get("/providers/local"))["concurrency"] == 3


async def test_a_price_without_numbers_is_the_lists_again(shell):
    await shell.apply(FILE)
    text = changed('small: {input_price: 0.25, output_price: 2, valid_from: "2026-01-01"}', "small: {}")
    assert (await shell.apply(text))[0].endswith("prices of small")
    assert (await shell.apply(text))[0].endswith("entered again")
    assert (await shell.api.get("/providers/acme/models/small"))["prices"] == []


async def test_keys_and_passwords_are_not_shown(shell):
    lines = await shell.apply(FILE)
    assert "sentinel" not in str([*lines, await shell.api.get("/providers/acme")])


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("max_retries: 5", "max_retires: 5", (6, 5, "unknown key 'max_retires'; did you mean 'max_retries'?")),
        ("max_retries: 5", "max_retries: 50", (6, 18, "has to be less than or equal to 10; it is 50")),
        ("{max_batch_size: 64}", "{max_batch_size: 0}", (7, 36, "has to be greater than or equal to 1; it is 0")),
        ("api_key_env: ACME_KEY", f"api_key: {KEY}", (4, 5, "unknown key 'api_key'; did you mean 'api_key_env'?")),
        ("api_key_env: ACME_KEY", "api_key_env: NO_SUCH", (4, 18, "the environment variable NO_SUCH is empty")),
        ("input_price: 3", "input_price: -3", (9, 32, "input_price is -3; a price is 0 to")),
        ('valid_from: "2026-01-01"', "valid_from: 2026-01-01", (10, 63, "put it in quotes")),
        ('valid_from: "2026-01-01"', "valid_from: soon", (10, 63, "a date is a day (2026-07-01")),
        ("https://acme.example/v1/", "http://169.254.169.254", (3, 15, "which no setting allows")),
        ("proxy_env: ACME_PROXY", "ca_bundle: company.pem", (5, 16, "is no absolute path")),
        ("- name: local", "- name: acme", (1, 1, "provider 'acme' is described twice")),
        ("preset: ollama", "preset: olama", (12, 13, "no preset 'olama'; there are")),
    ],
)  # fmt: skip
async def test_a_fault_is_told_with_its_line_and_column(shell, old, new, fault):
    with pytest.raises(InvalidInput) as caught:
        await shell.apply(changed(old, new))
    first = caught.value.faults[0]
    assert (first.line, first.column) == fault[:2], first
    assert fault[2] in first.message
    assert "accounts.yaml: line " in caught.value.detail
    assert "sentinel" not in caught.value.detail


async def test_the_accounts_before_a_faulty_one_are_applied(shell):
    text = changed("preset: ollama", 'base_url: "http://10.0.0.8"')
    with pytest.raises(InvalidInput, match=r"line 12, column 15: /providers/1/base_url: .*=private"):
        await shell.apply(text)
    rows = [row async for row in shell.api.pages("/providers")]
    assert [row["name"] for row in rows] == ["acme"]


async def test_a_dialect_does_not_change(shell):
    await shell.apply(FILE)
    with pytest.raises(
        InvalidInput, match="provider 'local' speaks ollama, and that does not change"
    ) as caught:
        await shell.apply(changed("preset: ollama", "preset: anthropic"))
    assert (caught.value.faults[0].line, caught.value.faults[0].pointer) == (12, "/providers/1/preset")


async def test_the_defaults_of_the_settings_are_those_of_a_new_account(tmp_path, dsn):
    settings = Settings(
        home=tmp_path / "home",
        database_url=SecretStr(dsn),
        provider_max_retries=7,
        provider_max_batch_size=33,
    )
    async with connect(settings, None) as api:
        made = await api.send("POST", "/providers", {"name": "p", "preset": "groq", "timeout_seconds": 9})
    assert (made["max_retries"], made["timeout_seconds"]) == (7, 9.0)
    assert made["batch_config"] == {"max_batch_size": 33, "batch_timeout_ms": 100}

"""Settings are read once; what cannot be used is named by its variable and never shown."""

from pathlib import Path

import pytest

from tiebreak.errors import Misconfigured
from tiebreak.providers.account import BatchConfig, ExternalServiceConfig
from tiebreak.settings import Settings

OURS = tuple(Settings.variables().values())


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No variable of the developer's shell."""
    for name in OURS:
        monkeypatch.delenv(name, raising=False)


def test_every_field_has_a_default_and_a_description():
    settings = Settings.read()
    assert (settings.host, settings.port, settings.outbound) == ("127.0.0.1", 8321, "loopback")
    assert all(field.description for field in Settings.model_fields.values())


def test_variables_are_read(monkeypatch):
    monkeypatch.setenv("TIEBREAK_HOME", "/data")
    monkeypatch.setenv("TIEBREAK_PORT", "0")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:pw@db/x")
    monkeypatch.setenv("DB_POOL_SIZE", "5")
    settings = Settings.read()
    assert (settings.home, settings.port, settings.db_pool_size) == (Path("/data"), 0, 5)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://me:pw@db/x"
    assert "pw" not in repr(settings)


def test_what_a_provider_is_by_default_may_be_set(monkeypatch):
    assert Settings.read().provider_defaults == ExternalServiceConfig("")
    monkeypatch.setenv("TIEBREAK_PROVIDER_TIMEOUT_SECONDS", "30")
    monkeypatch.setenv("TIEBREAK_PROVIDER_MAX_RETRIES", "5")
    monkeypatch.setenv("TIEBREAK_PROVIDER_MAX_BATCH_SIZE", "64")
    monkeypatch.setenv("TIEBREAK_PROVIDER_BATCH_TIMEOUT_MS", "20")
    monkeypatch.setenv("TIEBREAK_PROVIDER_CACHE_ENABLED", "false")
    monkeypatch.setenv("TIEBREAK_PROVIDER_CACHE_TTL_SECONDS", "900")
    expected = ExternalServiceConfig("", 30.0, 5, BatchConfig(64, 20), False, 900)
    assert Settings.read().provider_defaults == expected


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("TIEBREAK_HOME", "")
    settings = Settings.read()
    assert settings.database_url is None
    assert settings.home is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIEBREAK_PORT", "70000"),
        ("TIEBREAK_PORT", "http"),
        ("TIEBREAK_OUTBOUND", "all"),
        ("TIEBREAK_HTTP_CLIENT", "httpx"),
        ("TIEBREAK_LEASE_SECONDS", "0"),
        ("DB_POOL_SIZE", "0"),
        ("DB_MAX_OVERFLOW", "-1"),
        ("TIEBREAK_PROVIDER_MAX_BATCH_SIZE", "2049"),
        ("TIEBREAK_PROVIDER_CACHE_ENABLED", "perhaps"),
    ],
)
def test_an_unusable_value_names_its_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=f"{name} cannot be used"):
        Settings.read()


def test_a_misspelt_variable_is_an_error_with_the_nearest_name(monkeypatch):
    monkeypatch.setenv("TIEBREAK_PROT", "9000")
    with pytest.raises(Misconfigured, match="TIEBREAK_PROT is not a setting; did you mean TIEBREAK_PORT"):
        Settings.read()


def test_an_unknown_variable_lists_what_there_is(monkeypatch):
    monkeypatch.setenv("TIEBREAK_ZZZZZZZZZ", "1")
    with pytest.raises(Misconfigured, match=r"there are .*TIEBREAK_HOME"):
        Settings.read()


def test_the_data_of_the_tests_is_no_setting(monkeypatch):
    monkeypatch.setenv("TIEBREAK_GSM8K", "/somewhere")
    Settings.read()

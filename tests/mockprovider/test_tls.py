"""The mock under TLS, with a certificate made for the test."""

import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from tests.certificates import authority

from tiebreak.errors import InvalidInput
from tiebreak.mockprovider.config import server_tls
from tiebreak.mockprovider.description import Fault, Recorded
from tiebreak.mockprovider.server import running

MARK = b"-----BEGIN CERTIFICATE-----"
ASK = {"model": "big", "messages": [{"role": "user", "content": "What is six times seven, please?"}]}


@pytest.fixture
def signed(tmp_path):
    """Whom to trust, and a certificate of theirs with its key: all in one file, and apart."""
    signing = authority(tmp_path)
    both = Path(signing.issue("localhost"))
    key, mark, chain = both.read_bytes().partition(MARK)
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    files[0].write_bytes(mark + chain)
    files[1].write_bytes(key)
    return ssl.create_default_context(cafile=signing.bundle), both, *files


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_come_under_tls(config, signed, stream):
    trusting, _, cert, key = signed
    async with (
        running(replace(config, tls=server_tls(cert, key))) as base_url,
        aiohttp.ClientSession() as session,
        session.post(
            f"{base_url}/chat/completions",
            json=ASK | {"stream": stream},
            ssl=trusting,
            server_hostname="localhost",
        ) as response,
    ):
        assert base_url.startswith("https://127.0.0.1:")
        assert b'"finish_reason":"stop"' in await response.read()


async def test_a_reset_is_one_under_tls_too(config, signed):
    trusting, both, _, _ = signed
    models = {"big": Recorded(faults=(Fault(body="reset", first=1),))}
    async with (
        running(replace(config, models=models, tls=server_tls(both, None))) as base_url,
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(aiohttp.ClientOSError):
            await session.post(
                f"{base_url}/chat/completions", json=ASK, ssl=trusting, server_hostname="localhost"
            )


def test_without_a_certificate_there_is_no_tls():
    assert server_tls(None, None) is None


def test_files_that_cannot_be_used_are_named(signed, tmp_path):
    _, _, cert, key = signed
    with pytest.raises(InvalidInput, match=f"the TLS key {key} has no certificate; give --tls-cert too"):
        server_tls(None, key)
    for certificate_file, key_file in ((cert, tmp_path / "gone"), (key, key), (cert, None)):
        with pytest.raises(
            InvalidInput, match=f"cannot serve TLS with the certificate {certificate_file} and"
        ):
            server_tls(certificate_file, key_file)


def test_a_key_under_a_password_is_refused_instead_of_asking_for_it(signed):
    _, _, cert, key = signed
    opened = serialization.load_pem_private_key(key.read_bytes(), password=None)
    hidden = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(opened.private_bytes(serialization.Encoding.PEM, form, hidden))
    with pytest.raises(InvalidInput, match="the key without a password"):
        server_tls(cert, key)


def test_the_command_serves_tls_and_says_so(signed):
    _, _, cert, key = signed
    command = [sys.executable, "-m", "tiebreak", "mock-provider", "--tls-cert", cert, "--tls-key", key]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        process.terminate()
        process.communicate(timeout=10)
    assert line.startswith("mock provider on https://127.0.0.1:")
    assert process.returncode == 0

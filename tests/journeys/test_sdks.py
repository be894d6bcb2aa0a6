"""The official SDKs of OpenAI and Anthropic, pointed at `tiebreak serve`: one suite, over every dialect of a provider."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import pytest_asyncio
from tests.conftest import DatabaseServer
from tests.journeys.sdks import ARGUMENTS, PATIENCE, SDKS, SIX, Sdk, Wish, each, settled
from tests.journeys.test_commands import Shell, vendor
from tests.serving import serving, until

# One loop, so that an async client serves the whole module.
pytestmark = pytest.mark.asyncio(loop_scope="module")

MODELS = """\
questions: questions.jsonl
models:
  oracle: {kind: simulated, skill: 1.0, output_tokens: {median: 40}, latency: {kind: fixed, ms: 5}}
  broken: {kind: simulated, skill: 1.0, faults: [{body: error, status: 500, share: 1}]}
  splitting: {kind: simulated, skill: 1.0, faults: [{body: split, share: 1}]}
  breaking: {kind: simulated, skill: 1.0, faults: [{body: error_frame, chunks: 5, status: 500, share: 1}]}
"""
SECRET = "the-vendors-key"
TOOLS = ("weather", "clock")
USING = f"{SIX} Use the weather and the clock."
DIALECTS = {
    "openai_compatible": "/v1",
    "openai": "/v1",
    "openai_responses": "/v1",
    "anthropic": "",
    "gemini": "",
    "azure_openai": "",
}
# Where a provider speaks as the SDK does, bytes go on as they are; a chat's stream tells its usage if it is asked to.
WHOLE, STREAMED = {}, {"stream": True}
RELAYED = [
    *[
        ("chat", dialect, more)
        for dialect in ("openai_compatible", "openai", "azure_openai")
        for more in (WHOLE, STREAMED, {**STREAMED, "stream_options": {"include_usage": True}})
    ],
    *[("responses", "openai_responses", more) for more in (WHOLE, STREAMED)],
    *[("messages", "anthropic", more) for more in (WHOLE, STREAMED)],
]
EMBEDDING = ["openai_compatible", "openai", "openai_responses", "azure_openai", "gemini"]
# What the mock counts and dates anew at every call.
VARYING = re.compile(rb'(?<=mock_)\d+|(?<=mock-)\d+|(?<="created":)\d+|(?<="created_at":)\d+')

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@dataclass(frozen=True)
class Place:
    """A gateway, the vendor behind it, and the vendor's log."""

    url: str
    vendor: str
    log: Path

    def calls_of(self, model: str) -> int:
        """How often the vendor was asked for a model."""
        return sum(json.loads(line)["model"] == model for line in self.log.read_text().splitlines())


def post(url: str, document: dict[str, Any]) -> dict[str, Any]:
    response = httpx2.post(url, json=document, timeout=PATIENCE)
    assert response.is_success, response.text
    return response.json()


@pytest.fixture(scope="module")
def place(database_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("sdks")
    (folder / "models.yaml").write_text(MODELS)
    (folder / "questions.jsonl").write_text(json.dumps({"id": "six", "question": SIX, "answer": "42"}) + "\n")
    with (
        database_server.fresh() as dsn,
        vendor(Shell(folder, dsn), "--api-key", SECRET) as base_url,
        serving(folder / "home", dsn) as server,
    ):
        root = base_url.removesuffix("/v1")
        for dialect, path in DIALECTS.items():
            account = {"name": dialect, "dialect": dialect, "base_url": root + path, "api_key": SECRET}
            post(f"{server.url}/api/v1/providers", account | {"max_retries": 0})
        variants = [{"key": name, "model": f"{name}/oracle"} for name in ("openai", "anthropic")]
        metrics = [{"name": "latency_ms", "role": "primary"}]
        post(f"{server.url}/api/v1/tests", {"name": "Both", "variants": variants, "metrics": metrics})
        post(f"{server.url}/api/v1/tests/both/live", {})
        made = Place(server.url, root, folder / "calls.jsonl")
        until(lambda: bool(httpx2.get(f"{made.url}/v1/models").json()["data"]), "the test is served")
        yield made


class Clients:
    """One client of each SDK, either kind, to the gateway; they keep their own retries."""

    def __init__(self, place: Place, kind: str) -> None:
        self.openai = {"sync": openai.OpenAI, "async": openai.AsyncOpenAI}[kind](
            base_url=f"{place.url}/v1", api_key="any", timeout=PATIENCE
        )
        self.anthropic = {"sync": anthropic.Anthropic, "async": anthropic.AsyncAnthropic}[kind](
            base_url=place.url, api_key="any", timeout=PATIENCE
        )

    def sdk(self, surface: str) -> Sdk:
        """The SDK of a surface."""
        return SDKS[surface](self.anthropic if surface == "messages" else self.openai)

    async def close(self) -> None:
        """Give their connections up."""
        await settled(self.openai.close())
        await settled(self.anthropic.close())


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sync", "async"])
async def clients(place, request):
    made = Clients(place, request.param)
    yield made
    await made.close()


@pytest.fixture(params=SDKS)
def sdk(clients, request) -> Sdk:
    return clients.sdk(request.param)


@every_dialect
async def test_an_answer_is_read_whole(sdk, dialect):
    said = await sdk.ask(Wish(f"{dialect}/oracle"))
    assert said.text.endswith("A: 42")
    assert (said.ending, said.calls) == (sdk.stopped, ())
    assert min(said.tokens) > 0


@every_dialect
async def test_a_stream_comes_in_pieces_that_are_the_whole_answer(sdk, dialect):
    whole, said = [await ask(Wish(f"{dialect}/oracle")) for ask in (sdk.ask, sdk.stream)]
    assert len(said.pieces) > 2
    assert "".join(said.pieces) == said.text == whole.text
    assert (said.ending, said.tokens) == (sdk.stopped, whole.tokens)


@every_dialect
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_tools_are_called_and_their_results_answered(sdk, dialect, streamed):
    ask = sdk.stream if streamed else sdk.ask
    wish = Wish(f"{dialect}/oracle", USING, TOOLS)
    called = await ask(wish)
    assert [(call.name, call.arguments) for call in called.calls] == [(name, ARGUMENTS) for name in TOOLS]
    assert len({call.id for call in called.calls}) == len(TOOLS)
    assert called.ending == sdk.calling
    after = await ask(replace(wish, called=called))
    assert after.text.startswith("The tools said: ")
    assert after.text.partition("\n")[0].count("sunny") == len(TOOLS)
    assert (after.ending, after.calls) == (sdk.stopped, ())


@every_dialect
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_json_is_of_the_schema(sdk, dialect, streamed):
    said = await (sdk.stream if streamed else sdk.ask)(Wish(f"{dialect}/oracle", shape=True))
    assert json.loads(said.text) == ARGUMENTS


@every_dialect
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_refusal_ends_messages_as_one(clients, dialect, streamed):
    sdk = clients.sdk("messages")
    said = await (sdk.stream if streamed else sdk.ask)(Wish(f"{dialect}/oracle", f"{SIX} [mock: refuse]"))
    assert said.ending == "refusal"


@every_dialect
async def test_an_unknown_model_is_the_sdks_own_error(sdk, dialect):
    for ask in (sdk.ask, sdk.stream):
        with pytest.raises(sdk.errors.NotFoundError, match="gone") as missing:
            await ask(Wish(f"{dialect}/gone"))
        assert missing.value.response.headers["x-tiebreak-request-id"]


@pytest.mark.parametrize(
    ("model", "said"), [("nobody/gone", "provider 'nobody'"), ("tests/gone", "test 'gone'")]
)
async def test_who_is_not_there_is_the_sdks_own_error(sdk, model, said):
    with pytest.raises(sdk.errors.NotFoundError, match=said):
        await sdk.ask(Wish(model))


@every_dialect
async def test_a_vendor_that_fails_is_a_typed_error_and_no_sdk_tries_again(sdk, place, dialect):
    for ask in (sdk.ask, sdk.stream):
        before = place.calls_of("broken")
        with pytest.raises(sdk.errors.InternalServerError) as failed:
            await ask(Wish(f"{dialect}/broken"))
        assert failed.value.status_code == 502
        assert failed.value.response.headers["x-should-retry"] == "false"
        assert place.calls_of("broken") == before + 1


@every_dialect
async def test_a_vendor_that_fails_within_a_stream_says_so_there(sdk, dialect):
    assert "told to fail here" in await sdk.failing(Wish(f"{dialect}/breaking"))


@every_dialect
async def test_vectors_are_those_of_the_vendor(clients, place, dialect):
    asked = {"input": ["one", "two"], "dimensions": 16}
    vectors = clients.openai.embeddings
    if dialect not in EMBEDDING:
        with pytest.raises(openai.BadRequestError, match="no embeddings"):
            await settled(vectors.create(model=f"{dialect}/oracle", **asked))
        return
    with openai.OpenAI(base_url=f"{place.vendor}/v1", api_key=SECRET, timeout=PATIENCE) as direct:
        expected = direct.embeddings.create(model="oracle", **asked)
    for more in ({}, {"encoding_format": "float"}):
        answer = await settled(vectors.create(model=f"{dialect}/oracle", **asked, **more))
        assert [vector.index for vector in answer.data] == [0, 1]
        for vector, other in zip(answer.data, expected.data, strict=True):
            assert vector.embedding == pytest.approx(other.embedding, abs=1e-6)


async def test_models_are_listed_by_both_sdks(clients):
    for client in (clients.openai, clients.anthropic):
        page = await settled(client.models.list())
        assert [model.id async for model in each(page)] == ["tests/both"]


async def test_a_live_test_is_a_model_to_every_sdk(sdk):
    told = await sdk.headers(Wish("tests/both"), {"x-tiebreak-unit": "somebody"})
    again = await sdk.headers(Wish("tests/both"), {"x-tiebreak-unit": "somebody"})
    assert told["x-tiebreak-test"] == "both"
    assert told["x-tiebreak-assignment"] == "hash"
    assert told["x-tiebreak-variant"] == again["x-tiebreak-variant"]
    assert told["x-tiebreak-model"] == f"{told['x-tiebreak-variant']}/oracle"


def straight(surface: str, dialect: str, place: Place) -> Sdk:
    """The SDK at the vendor itself."""
    if dialect == "azure_openai":
        client: Any = openai.AzureOpenAI(
            azure_endpoint=place.vendor, api_key=SECRET, api_version="2024-10-21", timeout=PATIENCE
        )
    elif surface == "messages":
        client = anthropic.Anthropic(base_url=place.vendor, api_key=SECRET, timeout=PATIENCE)
    else:
        client = openai.OpenAI(base_url=f"{place.vendor}/v1", api_key=SECRET, timeout=PATIENCE)
    return SDKS[surface](client)


@pytest.mark.parametrize(("surface", "dialect", "more"), RELAYED)
@pytest.mark.parametrize(
    "wish",
    [Wish("oracle"), Wish("oracle", USING, TOOLS), Wish("splitting")],
    ids=["text", "tools", "in odd pieces"],
)
async def test_in_the_vendors_own_dialect_the_bytes_are_the_vendors(
    clients, place, surface, dialect, more, wish
):
    sdk = straight(surface, dialect, place)
    direct = await sdk.bytes(wish, **more)
    sdk.client.close()
    through = await clients.sdk(surface).bytes(replace(wish, model=f"{dialect}/{wish.model}"), **more)
    assert VARYING.sub(b"N", through) == VARYING.sub(b"N", direct)

"""The mock over the wire, with the vendor's own SDK as its client."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import openai
import pytest
from tests.mockprovider.served import BANK, client_of, lines

from tiebreak.errors import Refused, Unavailable
from tiebreak.mockprovider.config import MockConfig, MockOptions, load
from tiebreak.mockprovider.description import Fixed, Simulated
from tiebreak.mockprovider.server import running, serve

ASK = {"role": "user", "content": "Q: What is six times seven, please?\nEnd with `A:`."}


async def ask(client, model="big", message=ASK, **more):
    return await client.chat.completions.create(model=model, messages=[message], **more)


async def test_a_recorded_model_says_what_was_recorded_and_what_it_is(config):
    async with client_of(config) as client:
        answer = await ask(client)
        raw = await client.chat.completions.with_raw_response.create(model="big", messages=[ASK])
    assert answer.choices[0].message.content == "Six times seven is\nA: 42"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.system_fingerprint == raw.headers["x-mock-provider"] == "tiebreak-mock-provider"
    assert answer.usage.completion_tokens == 6
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 6


async def test_a_stream_says_the_same_in_several_pieces_with_its_usage(config):
    async with client_of(config) as client:
        whole = await ask(client)
        stream = await ask(client, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
    said = [
        chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content
    ]
    assert len(said) > 2
    assert "".join(said) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert {chunk.system_fingerprint for chunk in chunks} == {"tiebreak-mock-provider"}
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_stream_without_the_wish_for_usage_has_none(config):
    async with client_of(config) as client:
        chunks = [chunk async for chunk in await ask(client, stream=True)]
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_an_empty_recorded_answer_streams_as_nothing(config):
    message = {"role": "user", "content": "Which planet is closest to the sun?"}
    async with client_of(config) as client:
        chunks = [chunk async for chunk in await ask(client, message=message, stream=True)]
    assert [chunk.choices[0].delta.content or "" for chunk in chunks] == ["", ""]


async def test_a_token_limit_cuts_the_answer_and_says_so(config):
    async with client_of(config) as client:
        cut = await ask(client, max_completion_tokens=2)
        whole = await ask(client, max_tokens=6)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("Six time", "length")
    assert cut.usage.completion_tokens == 2
    assert whole.choices[0].finish_reason == "stop"


async def test_simulated_models_are_right_and_wrong_as_skilled_and_the_same_every_time(config):
    async with client_of(config) as client:
        right, again, wrong = [
            (await ask(client, name)).choices[0].message.content for name in ("oracle", "oracle", "fool")
        ]
    assert right == again
    assert right.splitlines()[-1] == "A: 42"
    assert right.startswith("This text is simulated.")
    assert wrong.splitlines()[-1] not in {"A: 42", "A: 42.0"}


async def test_the_last_user_message_counts_also_in_parts(config):
    messages = [
        {"role": "user", "content": "Which planet is closest to the sun?"},
        {"role": "assistant", "content": "Mercury"},
        {"role": "user", "content": [{"type": "text", "text": "What is six times "}, {"type": "text", "text": "seven, please?"}]},
        {"role": "system", "content": "Be brief."},
    ]  # fmt: skip
    async with client_of(config) as client:
        answer = await client.chat.completions.create(model="big", messages=messages)
    assert answer.choices[0].message.content.endswith("A: 42")


async def test_models_are_listed_and_shown(config):
    async with client_of(config) as client:
        names = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("echo")
        with pytest.raises(
            openai.NotFoundError, match="there is no model 'gone'; this mock provider serves big, echo"
        ):
            await client.models.retrieve("gone")
    assert names == ["oracle", "fool", "big", "echo"]
    assert one.owned_by == "tiebreak-mock-provider"


@pytest.mark.parametrize(
    ("model", "message", "code", "text"),
    [
        ("gone", ASK, "model_not_found", "there is no model 'gone'"),
        ("big", {"role": "user", "content": "Hello" + "!" * 99}, "question_not_found", "'Hello!!!!!"),
        ("big", {"role": "user", "content": "Which gas do plants take in?"}, "answer_not_found", "'q3'"),
    ],
)
async def test_what_is_not_there_is_a_404_that_names_it(config, model, message, code, text):
    async with client_of(config) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await ask(client, model, message)
    assert caught.value.code == code
    assert text in caught.value.message


async def test_a_key_is_asked_for_where_one_is_set(config):
    async with client_of(replace(config, api_key="right"), key="right") as client:
        assert (await ask(client)).model == "big"
        for call in (
            client.with_options(api_key="wrong").models.list(),
            ask(client.with_options(api_key="wrong")),
        ):
            with pytest.raises(openai.AuthenticationError, match="wrong or missing API key"):
                await call


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/v1/chat/completions", b"{", 400, "cannot be read"),
        ("POST", "/v1/chat/completions", b"\xff", 400, "cannot be read"),
        ("POST", "/v1/chat/completions", b"[" * 100_000, 400, "cannot be read"),
        ("POST", "/v1/chat/completions", b'{"model": "big"}', 400, "missing required field `messages`"),
        ("POST", "/v1/chat/completions", b'{"model": "big", "messages": []}', 400, "`$.messages`"),
        (
            "POST",
            "/v1/chat/completions",
            b'{"model": "big", "messages": [{"role": "system"}]}',
            400,
            "role 'user'",
        ),
        (
            "POST",
            "/v1/chat/completions",
            b'{"model": "big", "n": 129, "messages": [{"role": "user"}]}',
            400,
            "`$.n`",
        ),
        ("GET", "/v1/chat/completions", b"", 405, "does not take GET"),
        ("GET", "/v1/audio", b"", 404, "unknown path '/v1/audio'"),
        ("DELETE", "/v1/models", b"", 405, "does not take DELETE"),
        ("POST", "/v1/audio/speech", b"{}", 404, "unknown path '/v1/audio/speech'"),
    ],
)
async def test_a_request_that_cannot_be_served_is_refused_in_the_dialect(
    config, method, path, body, status, text
):
    async with (
        running(config) as base_url,
        aiohttp.ClientSession() as session,
        session.request(method, base_url.removesuffix("/v1") + path, data=body) as response,
    ):
        document = await response.json()
    assert response.status == status
    assert text in document["error"]["message"]
    assert document["error"]["type"] == "invalid_request_error"


async def test_health_counts_calls_and_needs_no_key(config):
    async with client_of(replace(config, api_key="k"), key="k") as client:
        await ask(client)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{client.base_url}".replace("v1/", "health")) as response,
        ):
            assert await response.json() == {"status": "ok", "kind": "tiebreak-mock-provider", "calls": 1}  # fmt: skip


async def test_every_call_is_logged_before_its_answer_is_read(config, tmp_path):
    log = tmp_path / "calls.jsonl"
    before = time.time()
    async with client_of(replace(config, log=log)) as client:
        await ask(client, "echo")
        assert len(lines(log)) == 1
        async for _ in await ask(client, "oracle", stream=True):
            pass
        assert len(lines(log)) == 2
        with pytest.raises(openai.NotFoundError):
            await ask(client, message={"role": "user", "content": "?"})
    plain, streamed, refused = lines(log)
    assert [call["status"] for call in (plain, streamed, refused)] == [200, 200, 404]
    assert [call["model"] for call in (plain, streamed, refused)] == ["echo", "oracle", "big"]
    assert [call["question"] for call in (plain, streamed, refused)] == ["q1", "q1", None]
    assert [call["stream"] for call in (plain, streamed, refused)] == [False, True, False]
    assert before <= plain["at"] <= streamed["at"] <= time.time()
    assert plain["ended"] - plain["started"] >= 0.02
    assert plain["ended"] <= streamed["started"]


async def test_a_call_whose_client_left_is_logged_as_such(config, tmp_path):
    log = tmp_path / "calls.jsonl"
    slow = MockConfig({"slow": Simulated(skill=1, latency=Fixed(60_000))}, bank=BANK, log=log)
    async with client_of(slow) as client:
        with pytest.raises(openai.APITimeoutError):
            await ask(client, "slow", timeout=0.2)
        async with asyncio.timeout(5):
            while not log.read_text():
                await asyncio.sleep(0.01)
    assert [(call["status"], call["model"]) for call in lines(log)] == [(499, "slow")]


async def test_a_stopped_mock_ends_its_open_calls_and_logs_them(tmp_path):
    log = tmp_path / "calls.jsonl"
    slow = MockConfig({"slow": Simulated(skill=1, latency=Fixed(60_000))}, log=log)
    async with asyncio.TaskGroup() as tasks:
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        server = tasks.create_task(serve(slow, "127.0.0.1", 0, ready.set_result))
        async with openai.AsyncOpenAI(base_url=await ready, api_key="k", max_retries=0) as client:
            call = tasks.create_task(expect_no_connection(client))
            await asyncio.sleep(0.2)
            server.cancel()
            await call
    assert [call["status"] for call in lines(log)] == [499]


async def expect_no_connection(client):
    with pytest.raises(openai.APIConnectionError):
        await ask(client, "slow")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
async def test_it_listens_on_loopback_only(config, host):
    with pytest.raises(Refused, match="does not listen on"):
        async with running(config, host=host):
            pass


async def test_it_listens_on_the_other_loopback_addresses(config):
    async with running(config, host="localhost") as base_url:
        assert base_url.startswith("http://")
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        async with (
            running(config, host="::1") as base_url,
            openai.AsyncOpenAI(base_url=base_url, api_key="k") as client,
        ):
            assert (await ask(client)).model == "big"


async def test_a_taken_port_is_named(config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1 port {port}"):
            async with running(config, port=port):
                pass


COMMAND = """
import sys
from pathlib import Path
from tiebreak.mockprovider.config import MockOptions
from tiebreak.mockprovider.server import run
sys.exit(run(MockOptions(log=Path(sys.argv[1]), delay_ms=0)))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_is_and_ends_cleanly(tmp_path, number):
    log = tmp_path / "calls.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, log], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        with openai.OpenAI(base_url=line.split()[-1], api_key="k", max_retries=0) as client:
            message = {"role": "user", "content": "Hello"}
            client.chat.completions.create(model="careful", messages=[message])
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
    assert line.startswith("mock provider on http://127.0.0.1:")
    assert (rest, errors, process.returncode) == ("", "", 0)
    assert len(lines(log)) == 1


ASKING = """
import sys, time
import openai
client = openai.OpenAI(base_url=sys.argv[1], api_key="k", max_retries=0)
client.chat.completions.create(model="oracle", messages=[{"role": "user", "content": "Hello"}])
print("answered", flush=True)
client.chat.completions.create(model="slow", messages=[{"role": "user", "content": "Hello"}])
"""


async def test_the_log_survives_a_client_that_is_killed(config, tmp_path):
    log = tmp_path / "calls.jsonl"
    models = {**config.models, "slow": Simulated(skill=1, latency=Fixed(60_000))}
    async with running(replace(config, models=models, log=log)) as base_url:
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASKING, base_url, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            assert await client.stdout.readline() == b"answered\n"
            await asyncio.sleep(0.2)
            os.kill(client.pid, signal.SIGKILL)
            await client.wait()
            while len(lines(log)) < 2:
                await asyncio.sleep(0.01)
    assert [(call["model"], call["status"]) for call in lines(log)] == [("oracle", 200), ("slow", 499)]


@pytest.mark.gsm8k
async def test_every_recorded_gsm8k_answer_comes_back_for_its_question():
    if not (folder := os.environ.get("TIEBREAK_GSM8K")):
        pytest.skip(
            "TIEBREAK_GSM8K is not set: name the folder with questions.jsonl and recorded_answers.jsonl"
        )
    files = Path(folder, "questions.jsonl"), Path(folder, "recorded_answers.jsonl")
    questions = {line["id"]: line["question"] for line in lines(files[0])}
    config = load(MockOptions(questions=files[0], recorded=files[1]))
    async with running(config) as base_url, aiohttp.ClientSession() as session:
        for answer in lines(files[1]):
            content = f"Question: {questions[answer['id']]}\nEnd with a line `A: <number>`."
            body = {"model": answer["model"], "messages": [{"role": "user", "content": content}]}
            async with session.post(f"{base_url}/chat/completions", data=json.dumps(body)) as response:
                said = await response.json()
            assert said["choices"][0]["message"]["content"] == answer["text"], answer["id"]
    assert (len(config.bank.questions), len(config.recorded)) == (1319, 2638)

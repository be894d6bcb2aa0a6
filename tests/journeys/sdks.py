"""The vendors' own SDKs, each behind the same few words, so that one suite holds for all of them."""

import inspect
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import anthropic
import openai
import pytest

SIX = "What is six times seven, please?"
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 5}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
ARGUMENTS = {"city": "42", "days": 5}  # with which the mock calls a tool after that question
PATIENCE = 20.0  # seconds of one call


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Said:
    """An answer as its SDK has read it. `message` is what a next request repeats; `pieces` are a stream's."""

    text: str
    ending: str
    calls: tuple[Call, ...]
    tokens: tuple[int, int]
    message: Any
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What is asked of a model: a question, and perhaps tools, their results, or JSON."""

    model: str
    question: str = SIX
    tools: tuple[str, ...] = ()
    called: Said | None = None  # whose calls the tools have answered with `sunny`
    shape: bool = False

    @property
    def turn(self) -> dict[str, Any]:
        """The user's."""
        return {"role": "user", "content": self.question}


async def settled(value: Any) -> Any:
    """What a client gives, whether it is one that is awaited or not."""
    return await value if inspect.isawaitable(value) else value


async def each(stream: Any) -> AsyncIterator[Any]:
    """The items of a stream of either kind."""
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """A block of either kind."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def _bytes_of(method: Any, request: dict[str, Any]) -> bytes:
    """The body of an answer as it came."""
    async with entered(method.with_streaming_response.create(**request)) as response:
        return b"".join([piece async for piece in each(response.iter_bytes())])


class ChatCompletions:
    """`openai`, chat completions."""

    errors: ClassVar[Any] = openai
    stopped, calling = "stop", "tool_calls"

    def __init__(self, client: Any) -> None:
        self.client = client

    def request(self, wish: Wish) -> dict[str, Any]:
        """The arguments of the SDK's method."""
        messages: list[Any] = [wish.turn]
        if wish.called is not None:
            messages.append(wish.called.message.model_dump(exclude_none=True, exclude={"parsed"}))
            messages += [
                {"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in wish.called.calls
            ]
        request = {"model": wish.model, "messages": messages}
        if wish.tools:
            functions = [{"name": name, "parameters": WEATHER, "strict": True} for name in wish.tools]
            request["tools"] = [{"type": "function", "function": function} for function in functions]
        if wish.shape:
            schema = {"name": "forecast", "schema": WEATHER, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request

    async def ask(self, wish: Wish) -> Said:
        """One whole answer."""
        return self._said(await settled(self.client.chat.completions.create(**self.request(wish))))

    async def stream(self, wish: Wish) -> Said:
        """One answer in pieces, put together by the SDK."""
        asked = self.request(wish) | {"stream_options": {"include_usage": True}}
        async with entered(self.client.chat.completions.stream(**asked)) as events:
            pieces = [event.delta async for event in each(events) if event.type == "content.delta"]
            return self._said(await settled(events.get_final_completion()), pieces)

    async def failing(self, wish: Wish) -> str:
        """What the SDK raises within a stream."""
        with pytest.raises(self.errors.APIError) as failed:
            await self.stream(wish)
        return str(failed.value)

    async def bytes(self, wish: Wish, **more: Any) -> bytes:
        """The body as it came."""
        return await _bytes_of(self.client.chat.completions, self.request(wish) | more)

    async def headers(self, wish: Wish, told: dict[str, str]) -> Any:
        """Those of an answer, asked for with more of our own."""
        method = self.client.chat.completions.with_raw_response
        return (await settled(method.create(**self.request(wish), extra_headers=told))).headers

    def _said(self, answer: Any, pieces: list[str] | None = None) -> Said:
        (choice,) = answer.choices
        calls = tuple(
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for call in choice.message.tool_calls or ()
        )
        return Said(
            choice.message.content or "",
            choice.finish_reason,
            calls,
            (answer.usage.prompt_tokens, answer.usage.completion_tokens),
            choice.message,
            tuple(pieces or ()),
        )


class Responses:
    """`openai`, responses."""

    errors: ClassVar[Any] = openai
    stopped = calling = "completed"

    def __init__(self, client: Any) -> None:
        self.client = client

    def request(self, wish: Wish) -> dict[str, Any]:
        """The arguments of the SDK's method."""
        turns: list[Any] = [wish.turn]
        if wish.called is not None:
            turns += [
                item.model_dump(exclude_none=True, exclude={"parsed_arguments"})
                for item in wish.called.message
            ]
            turns += [
                {"type": "function_call_output", "call_id": call.id, "output": "sunny"}
                for call in wish.called.calls
            ]
        request = {"model": wish.model, "input": turns}
        if wish.tools:
            request["tools"] = [
                {"type": "function", "name": name, "parameters": WEATHER, "strict": True}
                for name in wish.tools
            ]
        if wish.shape:
            schema = {"type": "json_schema", "name": "forecast", "schema": WEATHER, "strict": True}
            request["text"] = {"format": schema}
        return request

    async def ask(self, wish: Wish) -> Said:
        """One whole answer."""
        return self._said(await settled(self.client.responses.create(**self.request(wish))))

    async def stream(self, wish: Wish) -> Said:
        """One answer in pieces, put together by the SDK."""
        async with entered(self.client.responses.stream(**self.request(wish))) as events:
            came = [event async for event in each(events)]
            final = await settled(events.get_final_response())
        assert [event.sequence_number for event in came] == list(range(len(came)))
        return self._said(
            final, [event.delta for event in came if event.type == "response.output_text.delta"]
        )

    async def failing(self, wish: Wish) -> str:
        """What the stream's last event says, for this SDK raises nothing."""
        events = await settled(self.client.responses.create(**self.request(wish), stream=True))
        last = [event async for event in each(events)][-1]
        assert last.type in {"error", "response.failed"}
        return last.message if last.type == "error" else last.response.error.message

    async def bytes(self, wish: Wish, **more: Any) -> bytes:
        """The body as it came."""
        return await _bytes_of(self.client.responses, self.request(wish) | more)

    async def headers(self, wish: Wish, told: dict[str, str]) -> Any:
        """Those of an answer, asked for with more of our own."""
        method = self.client.responses.with_raw_response
        return (await settled(method.create(**self.request(wish), extra_headers=told))).headers

    def _said(self, answer: Any, pieces: list[str] | None = None) -> Said:
        calls = tuple(
            Call(item.call_id, item.name, json.loads(item.arguments))
            for item in answer.output
            if item.type == "function_call"
        )
        tokens = (answer.usage.input_tokens, answer.usage.output_tokens)
        return Said(answer.output_text, answer.status, calls, tokens, answer.output, tuple(pieces or ()))


class Messages:
    """`anthropic`, messages."""

    errors: ClassVar[Any] = anthropic
    stopped, calling = "end_turn", "tool_use"

    def __init__(self, client: Any) -> None:
        self.client = client

    def request(self, wish: Wish) -> dict[str, Any]:
        """The arguments of the SDK's method."""
        turns: list[Any] = [wish.turn]
        if wish.called is not None:
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
                for call in wish.called.calls
            ]
            turns += [
                {"role": "assistant", "content": wish.called.message},
                {"role": "user", "content": results},
            ]
        request = {"model": wish.model, "max_tokens": 500, "messages": turns}
        if wish.tools:
            request["tools"] = [{"name": name, "input_schema": WEATHER} for name in wish.tools]
        if wish.shape:
            request["output_config"] = {"format": {"type": "json_schema", "schema": WEATHER}}
        return request

    async def ask(self, wish: Wish) -> Said:
        """One whole answer."""
        return self._said(await settled(self.client.messages.create(**self.request(wish))))

    async def stream(self, wish: Wish) -> Said:
        """One answer in pieces, put together by the SDK."""
        async with entered(self.client.messages.stream(**self.request(wish))) as events:
            pieces = [event.text async for event in each(events) if event.type == "text"]
            return self._said(await settled(events.get_final_message()), pieces)

    async def failing(self, wish: Wish) -> str:
        """What the SDK raises within a stream."""
        with pytest.raises(self.errors.APIError) as failed:
            await self.stream(wish)
        return str(failed.value)

    async def bytes(self, wish: Wish, **more: Any) -> bytes:
        """The body as it came."""
        return await _bytes_of(self.client.messages, self.request(wish) | more)

    async def headers(self, wish: Wish, told: dict[str, str]) -> Any:
        """Those of an answer, asked for with more of our own."""
        method = self.client.messages.with_raw_response
        return (await settled(method.create(**self.request(wish), extra_headers=told))).headers

    def _said(self, answer: Any, pieces: list[str] | None = None) -> Said:
        calls = tuple(
            Call(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"
        )
        return Said(
            "".join(block.text for block in answer.content if block.type == "text"),
            answer.stop_reason,
            calls,
            (answer.usage.input_tokens, answer.usage.output_tokens),
            [
                block.model_dump(exclude_none=True, include={"type", "text", "id", "name", "input"})
                for block in answer.content
            ],
            tuple(pieces or ()),
        )


Sdk = ChatCompletions | Responses | Messages
SDKS: dict[str, type[Sdk]] = {"chat": ChatCompletions, "responses": Responses, "messages": Messages}

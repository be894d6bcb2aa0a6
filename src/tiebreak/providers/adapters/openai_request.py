"""Requests for chat completions in OpenAI's dialect, with the quirks of those who speak it too. Pure."""

from dataclasses import dataclass
from typing import Any

from tiebreak.providers.adapters.failures import refused
from tiebreak.providers.adapters.parameters import lifted, require_free
from tiebreak.providers.model import ChatRequest, ImagePart, JsonSchema, Message, NamedTool, TextPart


@dataclass(frozen=True, slots=True)
class Quirks:
    """Where a vendor's idea of the dialect differs. `samples` is how many answers one request may ask for."""

    limit_name: str = "max_tokens"
    seed: str = "seed"
    stream_usage: bool = True  # knows `stream_options`; the others send their usage unasked
    samples: int = 1
    json_schema: bool = True
    images: bool = True
    embeddings: bool = True

    @property
    def rename(self) -> bool:
        """Whether common parameters have other names here."""
        return (self.limit_name, self.seed) != ("max_tokens", "seed")


def _part(part: TextPart | ImagePart, quirks: Quirks) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if not quirks.images:
        raise refused("this vendor takes no images; leave them out, or use another provider")
    return {"type": "image_url", "image_url": {"url": image_url(part)}}


def image_url(part: ImagePart) -> str:
    """Where the image is, its bytes in a data URL if need be.

    Raises:
        ProviderError: it has neither.
    """
    if part.data is not None:
        return f"data:{part.media_type};base64,{part.data}"
    if part.url is None:
        raise refused("an image has neither a URL nor data; give one of them")
    return part.url


def _message(message: Message, quirks: Quirks) -> dict[str, Any]:
    content: Any = message.content
    if not isinstance(content, str):
        content = [_part(part, quirks) for part in content]
    written: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        written["content"] = content or None
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.role == "tool":
        if message.tool_call_id is None:
            raise refused("a tool's message does not say which call it answers; give its tool_call_id")
        written["tool_call_id"] = message.tool_call_id
    return written


def _tools(request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "parameters": dict(tool.parameters)}
                | ({} if tool.description is None else {"description": tool.description}),
            }
            for tool in request.tools
        ]
    if isinstance(request.tool_choice, NamedTool):
        body["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice.name}}
    elif request.tool_choice is not None:
        body["tool_choice"] = request.tool_choice
    return body


def _output(request: ChatRequest, quirks: Quirks) -> dict[str, Any]:
    if request.output == "text":
        return {}
    if not isinstance(request.output, JsonSchema):
        return {"response_format": {"type": "json_object"}}
    if not quirks.json_schema:
        raise refused(
            "this vendor enforces no JSON schema; ask for JSON without one and check it, or use another provider"
        )
    schema = {
        "name": request.output.name,
        "schema": dict(request.output.schema),
        "strict": request.output.strict,
    }
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _sampling(request: ChatRequest, quirks: Quirks) -> dict[str, Any]:
    if request.n > 1 and request.stream:
        raise refused("several samples are not streamed; ask for them without a stream, or one by one")
    if request.n > quirks.samples:
        raise refused(
            f"this vendor gives {quirks.samples} samples a call and n is {request.n}; call again for more"
        )
    fields = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        quirks.limit_name: request.max_tokens,
        "stop": list(request.stop) or None,
        quirks.seed: request.seed,
        "n": request.n if request.n > 1 else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def chat_body(request: ChatRequest, quirks: Quirks) -> dict[str, Any]:
    """The body of a chat completion.

    Raises:
        ProviderError: a parameter that is not the test's to set, or something this vendor has no words for.
    """
    require_free(request.parameters)
    if quirks.rename:
        request = lifted(request)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message, quirks) for message in request.messages],
        **request.parameters,
        **_sampling(request, quirks),
        **_tools(request),
        **_output(request, quirks),
    }
    if request.stream:
        body["stream"] = True
        if quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    return body

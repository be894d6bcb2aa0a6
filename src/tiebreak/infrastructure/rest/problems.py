"""RFC 9457 problems: every error of the management API has one shape."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from tiebreak.errors import TiebreakError

MEDIA_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="tiebreak"'  # RFC 9110 §11.6.1: a 401 names what would be taken


class ProblemFault(BaseModel):
    """One place in the input that is wrong."""

    pointer: str = Field(description="RFC 6901 JSON pointer into the body", examples=["/variants/1/model"])
    detail: str
    line: int | None = Field(default=None, description="Line of the uploaded file, from one")
    column: int | None = None


class Problem(BaseModel):
    """What every error answer looks like (RFC 9457)."""

    type: str = Field(examples=["urn:tiebreak:problem:not_found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["no test 'checkout'; `tiebreak test list` shows what there is"])
    errors: list[ProblemFault] = Field(default_factory=list)


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "model": Problem,
        "description": "The request cannot be served; `detail` says why and what to do.",
    },
    "5XX": {"model": Problem, "description": "Something we need is away, or we failed."},
}


def problem(
    *,
    code: str,
    title: str,
    status: int,
    detail: str,
    errors: Sequence[ProblemFault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response for one problem."""
    body = Problem(
        type=f"urn:tiebreak:problem:{code}", title=title, status=status, detail=detail, errors=list(errors)
    )
    return ProblemResponse(body.model_dump(), status_code=status, headers=dict(headers or {}))


class ProblemResponse(JSONResponse):
    """A problem may quote what the caller sent: half a surrogate pair goes back the way it came, escaped."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "backslashreplace"
        )


def render(error: TiebreakError) -> Response:
    """One of our own errors as a response."""
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    faults = [
        ProblemFault(pointer=f.pointer, detail=f.message, line=f.line, column=f.column) for f in error.faults
    ]
    return problem(
        code=error.code,
        title=error.title,
        status=error.status,
        detail=error.detail,
        errors=faults,
        headers=headers,
    )


def pointer_of(location: Sequence[str | int]) -> str:
    """A pydantic location as an RFC 6901 pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""

    @app.exception_handler(TiebreakError)
    async def ours(_: Request, exc: TiebreakError) -> Response:
        return render(exc)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, exc: RequestValidationError) -> Response:
        faults = [
            ProblemFault(pointer=pointer_of(error["loc"][1:]), detail=error["msg"]) for error in exc.errors()
        ]
        return problem(
            code="invalid_input",
            title="Invalid input",
            status=422,
            detail="; ".join(f"{fault.pointer or 'body'}: {fault.detail}" for fault in faults[:5]),
            errors=faults,
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, exc: HTTPException) -> Response:
        phrase = HTTPStatus(exc.status_code).phrase
        detail = str(exc.detail)
        return problem(
            code=phrase.lower().replace(" ", "_"),
            title=phrase,
            status=exc.status_code,
            detail=f"{request.method} {request.scope['path']}: {detail}" if detail == phrase else detail,
            headers=exc.headers,
        )

    @app.exception_handler(Exception)
    async def unexpected(_: Request, __: Exception) -> Response:
        # Starlette raises it again after this answer, so the server logs it with its traceback.
        return render(TiebreakError("something failed on our side; the server's log has it"))

    _describe(app)


def _describe(app: FastAPI) -> None:
    """Let the OpenAPI file give problems their own media type; FastAPI knows one per route, that of success."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        for methods in document["paths"].values():
            for operation in methods.values():
                for status in PROBLEM_RESPONSES:
                    content = operation["responses"].get(status, {}).get("content", {})
                    if content and MEDIA_TYPE not in content:
                        (described,) = content.values()
                        operation["responses"][status]["content"] = {MEDIA_TYPE: described}
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to extend the file

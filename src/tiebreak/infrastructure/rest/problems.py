"""RFC 9457 problems: every error of the management API has one shape."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from tiebreak.errors import TiebreakError

MEDIA_TYPE = "application/problem+json"


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
    return JSONResponse(
        body.model_dump(mode="json"), status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def render(error: TiebreakError) -> Response:
    """One of our own errors as a response."""
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
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
    async def http(_: Request, exc: HTTPException) -> Response:
        return problem(
            code="http",
            title=str(exc.detail),
            status=exc.status_code,
            detail=str(exc.detail),
            headers=exc.headers,
        )

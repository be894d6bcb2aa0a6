"""The OpenAPI file is what the server does: no 5xx, answers as described, every route in it, and nothing else."""

import json
from typing import Any

import httpx2
import pytest
import schemathesis
from fastapi.routing import APIRoute, iter_route_contexts
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from tests.contracts.conftest import Running

CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance]
FUZZ = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def schema(running: Running) -> Any:
    """The file as the server gives it."""
    return schemathesis.openapi.from_url(f"{running.url}/api/v1/openapi.json", headers=running.headers)


def fuzz(operation: Any, headers: dict[str, str], **path_parameters: str) -> None:
    """Call one operation with made-up cases, valid ones and broken ones."""

    @given(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    )
    @FUZZ
    def call(case: schemathesis.Case) -> None:
        if path_parameters:
            case.path_parameters = path_parameters
        case.call_and_validate(checks=CHECKS, timeout=30, headers=headers)

    call()


# By hand, because schemathesis' own pytest plugin does not run under pytest 9.2.
def test_no_call_fails_on_our_side_and_every_answer_is_as_described(schema, running):
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 30
    for operation in operations:
        # Testing a provider calls whatever address the fuzzing stored; so here it is one that nobody stored.
        if operation.label.endswith("/test"):
            fuzz(operation, running.headers, name="nobody-stored-this")
        else:
            fuzz(operation, running.headers)


def operations(document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Every operation by its id."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest.fixture(scope="module")
def document(running: Running) -> dict[str, Any]:
    response = httpx2.get(f"{running.url}/api/v1/openapi.json", headers=running.headers)
    assert response.status_code == 200
    return response.json()


def test_the_file_has_every_route_and_every_route_is_in_it(running, document):
    served = {
        (method, str(context.path).replace(":path}", "}"))
        for context in iter_route_contexts(running.app.routes)
        if isinstance(context.original_route, APIRoute)
        for method in context.original_route.methods or ()
    }
    assert served == {(method, path) for method, path, _ in operations(document).values()}


def test_no_page_loads_a_script_from_another_host(running):
    for path in ("/docs", "/redoc"):
        assert httpx2.get(f"{running.url}{path}", headers=running.headers).status_code == 404


def test_operation_ids_are_unique_and_named_as_functions(document):
    count = sum(len(methods) for methods in document["paths"].values())
    ids = operations(document)
    assert len(ids) == count
    assert all(name.isidentifier() and name.islower() for name in ids)


def test_every_operation_says_what_it_does_and_how_it_fails(document):
    for name, (_, _, operation) in operations(document).items():
        assert operation.get("description") or operation.get("summary"), name
        assert operation["tags"], name
        assert {"4XX", "5XX"} <= set(operation["responses"]), name


def test_every_call_but_health_says_how_it_brings_its_key(document):
    assert set(document["components"]["securitySchemes"]) == {"bearer", "x-api-key"}
    for name, (_, _, operation) in operations(document).items():
        expected = [] if name == "get_health" else [{"bearer": []}, {"x-api-key": []}]
        assert operation["security"] == expected, name


def test_creating_calls_link_to_what_they_made(document):
    ids = operations(document)
    for name, (method, _, operation) in ids.items():
        if method != "POST" or "201" not in operation["responses"]:
            continue
        links = operation["responses"]["201"]["links"]
        assert links, name
        assert {link["operationId"] for link in links.values()} <= set(ids), name


def test_creating_calls_take_an_idempotency_key(document):
    for name, (_, _, operation) in operations(document).items():
        if "201" in operation["responses"]:
            headers = {
                parameter["name"]
                for parameter in operation.get("parameters", [])
                if parameter["in"] == "header"
            }
            assert "Idempotency-Key" in headers, name


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/nowhere", "/api/v1/tests/", "/%ff"])
def test_an_unknown_route_is_a_problem(running, path):
    response = httpx2.get(f"{running.url}{path}", headers=running.headers)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_a_wrong_method_is_a_problem_that_names_the_right_ones(running):
    response = httpx2.delete(f"{running.url}/health")
    assert response.status_code == 405
    assert response.headers["content-type"] == "application/problem+json"
    assert "GET" in response.headers["allow"]


HOSTILE = {
    "nul": "\x00",
    "nul inside": "a\x00b",
    "half a surrogate": "\ud800",
    "sql": "'; drop table tests; --",
    "percent": "%",
    "long": "a" * 1000,
    "right to left": "\u202e",
    "template": "{{7*7}}",
    "negative": "-1",
    "huge": "9" * 40,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_never_fail_on_our_side(running, document, text):
    """In every place of every call: path, query, and as value and key of the body."""
    quoted = text.encode("utf-8", "surrogatepass")
    escaped = "".join(f"%{byte:02x}" for byte in quoted)
    body = f'{{"name": {json.dumps(text)}, {json.dumps(text)}: {json.dumps(text)}}}'.encode(
        "utf-8", "surrogatepass"
    )
    with httpx2.Client(base_url=running.url, timeout=30, headers=running.headers) as client:
        for name, (method, path, operation) in operations(document).items():
            if name == "test_provider":
                continue
            for parameter in operation.get("parameters", []):
                path = path.replace(f"{{{parameter['name']}}}", escaped)
            query = "&".join(
                f"{p['name']}={escaped}" for p in operation.get("parameters", []) if p["in"] == "query"
            )
            sent = None if method == "GET" else body
            headers = {} if sent is None else {"Content-Type": "application/json"}
            response = client.request(method, f"{path}?{query}", content=sent, headers=headers)
            assert response.status_code < 500, (name, response.text)

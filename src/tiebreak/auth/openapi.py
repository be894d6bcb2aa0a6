"""Lets the OpenAPI file say how a call brings its key, so that generated clients send it."""

from typing import Any, Final

from fastapi import FastAPI

from tiebreak.auth.gate import needed

SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer tb_…`"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "`x-api-key: tb_…`"},
}


def describe(app: FastAPI) -> None:
    """Add both ways to the file, and to every call whether it needs one; a server without keys asks for none."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document.setdefault("components", {})["securitySchemes"] = SCHEMES
        for path, methods in document["paths"].items():
            for operation in methods.values():
                operation["security"] = [] if needed(path) is None else [{name: []} for name in SCHEMES]
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to extend the file

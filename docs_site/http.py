"""The paths of the HTTP API with their parameters and bodies, from its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crypto_assets.api.app import create_app
from crypto_assets.api.reference import type_of
from docs_site.tables import table

Schema = Mapping[str, Any]


def document() -> Schema:
    """Return the OpenAPI document; no database is asked for it."""
    return create_app("postgresql://nobody@127.0.0.1:1/none", Path("collection.yaml")).openapi()


def markdown() -> str:
    """Return a section for each path, then one for each record of the answers."""
    described = document()
    parts = [
        part
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        for part in _operation(method.upper(), path, operation)
    ]
    parts.append("## Records")
    for name, record in described["components"]["schemas"].items():
        if "properties" in record:
            parts += [f"### {_name(name)} {{ #{name} }}", *_record(record)]
    return "\n\n".join(parts)


def _operation(method: str, path: str, operation: Schema) -> Iterator[str]:
    yield f"### {method} {path}"
    yield operation["description"]
    parameters = operation.get("parameters", ())
    if parameters:
        yield table(
            ("parameter", "type", "meaning"),
            ((f"`{one['name']}`", str(type_of(one["schema"])), one.get("description", "")) for one in parameters),
        )
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        yield "Body:"
        yield from _record(body)
    answer = operation["responses"].get("200", operation["responses"].get("202", {}))
    schema = answer.get("content", {}).get("application/json", {}).get("schema")
    if schema:
        yield f"Answer: {type_of(schema)}"


def _record(record: Schema) -> Iterator[str]:
    if record.get("description"):
        yield record["description"]
    yield table(
        ("field", "type", "meaning"),
        ((f"`{name}`", str(type_of(one)), one.get("description", "")) for name, one in record["properties"].items()),
    )


def _name(name: str) -> str:
    return name.replace("_", " ").strip()

"""The page `/docs`: the OpenAPI document through a Jinja2 template, without scripts or other hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

Schema = Mapping[str, Any]

_WORDS = {"integer": "whole number", "boolean": "true or false", "string": "text"}
_TEXTS = {"date": "day", "date-time": "instant"}


def page(document: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    made = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"type": type_of, "plain": _plain}
    records: Mapping[str, Schema] = document["components"]["schemas"]
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return made.get_template("reference.html").render(document=document, operations=operations, records=records)


def type_of(schema: Schema) -> Markup:
    """Return a type in words: `text`, `list of State`, `number or null`; the name of a record links to it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#{}">{}</a>').format(name, name.replace("_", " ").strip())
    if "anyOf" in schema:
        return Markup(" or ").join(type_of(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return Markup(", ").join(map(str, schema.get("enum", [schema.get("const")])))
    kind = schema.get("type", "anything")
    if kind == "array":
        return Markup("list of ") + type_of(schema["items"])
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return Markup("object of ") + type_of(schema["additionalProperties"])
    return escape(_TEXTS.get(schema.get("format", "")) or _WORDS.get(kind, kind))


def _plain(text: str) -> Markup:
    """Return a docstring as HTML: text in backticks becomes code."""
    parts = enumerate(text.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in parts)

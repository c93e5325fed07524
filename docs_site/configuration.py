"""The keys of collection.yaml and the environment variables, from the models that check them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crypto_assets.config.api_keys import API_KEY_MEANING, API_KEY_VARIABLE
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import PREFIX, Settings
from docs_site.tables import table

Schema = Mapping[str, Any]

_TYPES = {"string": "text", "boolean": "true or false", "integer": "whole number", "number": "number"}


def collection() -> str:
    """Return the table of all keys of collection.yaml."""
    schema = Collection.model_json_schema()
    return table(("key", "type", "default", "meaning"), _keys(schema, schema["$defs"], ""))


def _keys(model: Schema, models: Schema, path: str) -> Iterator[tuple[str, str, str, str]]:
    required = model.get("required", ())
    for name, field in model["properties"].items():
        inner, step = _inside(field)
        default = "required" if name in required else _default(field)
        yield f"`{path}{name}`", _type(field), default, field.get("description", "")
        if inner and "properties" in models[inner]:
            yield from _keys(models[inner], models, f"{path}{name}{step}")


def _inside(field: Schema) -> tuple[str | None, str]:
    """Return the model inside a field, and how a path goes on to its keys."""
    for kinds, step in (
        (field, "."),
        (field.get("items", {}), "[]."),
        (field.get("additionalProperties", {}), ".<name>."),
    ):
        if isinstance(kinds, Mapping):
            for one in (kinds, *kinds.get("anyOf", ())):
                if "$ref" in one:
                    return one["$ref"].rpartition("/")[2], step
    return None, ""


def _type(field: Schema) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field or "const" in field:
        return ", ".join(f"`{one}`" for one in field.get("enum", [field.get("const")]))
    kind = field.get("type", "")
    if kind == "array":
        return "list" if "$ref" in field["items"] else f"list of {_type(field['items'])}"
    if kind == "string" and field.get("format") == "date":
        return "day"
    return _TYPES.get(kind, "mapping")


def _default(field: Schema) -> str:
    default = field.get("default")
    if default is None or default in ({}, []) or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def environment() -> str:
    """Return the table of the variables `CRYPTO_ASSETS_*`."""
    return table(
        ("variable", "meaning", "default"),
        [
            *(
                (f"`{PREFIX}{name.upper()}`", field.description or "", _value(name, field.get_default()))
                for name, field in Settings.model_fields.items()
            ),
            (f"`{API_KEY_VARIABLE}`", API_KEY_MEANING, ""),
        ],
    )


def _value(name: str, default: Any) -> str:
    if name in ("home", "config") or default in (None, ""):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"

"""Check that an answer agrees with `/openapi.json`: the same fields, each of its type."""

from __future__ import annotations

import re
from typing import Any

import httpx
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from crypto_assets.api import answers
from crypto_assets.api.app import ROUTERS

ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
_ERROR: TypeAdapter[Any] = TypeAdapter(answers.Error)
_ANSWERS: dict[str, TypeAdapter[Any]] = {
    route.name: TypeAdapter(route.response_model) for route in ROUTES if route.response_model is not None
}


def as_described(response: httpx.Response) -> None:
    """Raise if an answer differs from its model; a hook of an httpx client."""
    response.read()
    if response.request.method == "HEAD" or "json" not in response.headers["content-type"]:
        return
    model = _model(response)
    if model is not None:
        assert _instants(model.dump_python(model.validate_json(response.content), mode="json")) == response.json()


def _model(response: httpx.Response) -> TypeAdapter[Any] | None:
    asked = response.request
    for route in ROUTES:
        if asked.method in route.methods and route.path_regex.match(asked.url.path):
            if response.is_success or (route.name, response.status_code) == ("health", 503):
                assert response.status_code in (route.status_code or 200, 503)
                return _ANSWERS[route.name]
            break
    return None if response.is_success else _ERROR


def _instants(value: Any) -> Any:
    """Write instants of UTC as the API does: with `+00:00`; pydantic writes `Z`."""
    if isinstance(value, dict):
        return {name: _instants(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_instants(one) for one in value]
    return re.sub(r"^(\d{4}-\d\d-\d\dT[\d:.]+)Z$", r"\1+00:00", value) if isinstance(value, str) else value

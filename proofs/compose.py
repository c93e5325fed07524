"""Read compose.yaml: the services in the order in which they may start, with the variables of .env filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# ${NAME:?message} and ${NAME:-default}, the two forms that the file uses.
_VARIABLE = re.compile(r"\$\{(?P<name>\w+):(?P<kind>[?-])(?P<text>[^}]*)\}")

HEALTHY, ENDED = "service_healthy", "service_completed_successfully"


@dataclass(frozen=True, slots=True)
class Service:
    """One service. `waits` has the condition for each service that must come before; `build` is "" if it builds nothing."""

    name: str
    image: str
    build: str
    pull: str
    hostname: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ports: tuple[str, ...]
    volumes: tuple[str, ...]
    health: tuple[str, ...]
    waits: Mapping[str, str]
    grace_s: float


def read_compose(file: Path, variables: Mapping[str, str]) -> list[Service]:
    """Return the services, each after those that it waits for.

    Raises:
        ValueError: a variable is missing, or the services wait for each other.
    """
    content = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
    waiting = {name: _service(name, about, variables) for name, about in content.items()}
    ordered: dict[str, Service] = {}
    while waiting:
        ready = [service for service in waiting.values() if set(service.waits) <= set(ordered)]
        if not ready:
            raise ValueError(f"{file.name}: {', '.join(waiting)} wait for each other")
        for service in ready:
            ordered[service.name] = waiting.pop(service.name)
    return list(ordered.values())


def _service(name: str, about: dict[str, Any], variables: Mapping[str, str]) -> Service:
    health = about.get("healthcheck", {}).get("test", ())
    if health and health[0] != "CMD":
        raise ValueError(f"{name}: expected a health check that begins with CMD, found {health}")
    return Service(
        name,
        about["image"],
        str(about.get("build", "")),
        about.get("pull_policy", "missing"),
        about.get("hostname", ""),
        tuple(about.get("command", ())),
        {key: filled(str(value), variables) for key, value in about.get("environment", {}).items()},
        tuple(about.get("ports", ())),
        tuple(about.get("volumes", ())),
        tuple(health[1:]),
        {other: how["condition"] for other, how in about.get("depends_on", {}).items()},
        float(str(about.get("stop_grace_period", "10s")).removesuffix("s")),
    )


def filled(text: str, variables: Mapping[str, str]) -> str:
    """Return a value with its variables replaced."""

    def value(match: re.Match[str]) -> str:
        found = variables.get(match["name"], "")
        if found:
            return found
        if match["kind"] == "?":
            raise ValueError(f"{match['name']} is missing: {match['text']}")
        return match["text"]

    return _VARIABLE.sub(value, text)

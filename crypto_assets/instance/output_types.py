"""Makes definitions with thousands of checks load faster: the type of an output is looked up once.

Dagster resolves the type of every output twice, through all that a type may be (8 µs each); an asset with twenty checks has
21 outputs. Almost all have one of two answers: a type of Dagster is itself, and no type is `Any`. Everything else is left to
Dagster.
"""

from __future__ import annotations

from typing import Any

from dagster._core.definitions import output
from dagster._core.types.dagster_type import DagsterType

_stock = output.resolve_dagster_type
_ANY = _stock(None)


def resolve(dagster_type: Any) -> DagsterType:
    """Return the type of an output, as Dagster resolves it."""
    if dagster_type is None:
        return _ANY
    return dagster_type if isinstance(dagster_type, DagsterType) else _stock(dagster_type)


def resolve_once() -> None:
    """Make Dagster resolve the types of outputs so from now on."""
    output.resolve_dagster_type = resolve

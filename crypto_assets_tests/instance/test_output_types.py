"""The types of outputs that are looked up once are those that Dagster finds."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions import output
from dagster._core.types.dagster_type import resolve_dagster_type

from crypto_assets.defs import assets
from crypto_assets.instance.output_types import resolve


@pytest.mark.parametrize("kind", [None, dg.Nothing, dg.Any, dg.String, int, str, list, Any, dict[str, int]])
def test_an_output_has_the_type_that_dagster_resolves(kind):
    assert resolve(kind) is resolve_dagster_type(kind) or resolve(kind).key == resolve_dagster_type(kind).key


def test_what_is_no_type_is_refused_as_before():
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="Invalid type"):
        resolve({"a": 1})


def test_dagster_uses_it_and_still_resolves_each_output_by_this_function():
    assert assets.COMPARE_TAG
    assert output.resolve_dagster_type is resolve
    calls: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "resolve_dagster_type", lambda kind: calls.append(kind) or resolve(kind))
        dg.Out(dg.Nothing).to_definition(type(None), "result", None, None)
    assert len(calls) == 2

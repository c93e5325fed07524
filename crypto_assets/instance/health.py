"""A Dagster instance that reports the health of assets.

Dagster's open source server computes health (`dagster._core.definitions.asset_health`) and offers it in GraphQL, but the
stock instance says that it is not supported, so `assetHealth` is null. This is the only difference; without the entry
`instance_class` in dagster.yaml everything else works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef


class HealthInstance(DagsterInstance):
    """The stock instance, with health."""

    @classmethod
    def config_schema(cls) -> dict[str, Any]:
        """Return the schema of extra settings in dagster.yaml: none."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, Any]:
        """Return the defaults of dagster.yaml: those of the stock instance."""
        return InstanceRef.config_defaults(base_dir)

    def dagster_asset_health_queries_supported(self) -> bool:
        return True

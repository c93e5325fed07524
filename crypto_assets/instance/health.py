"""A Dagster instance that answers questions about the health of assets.

Dagster's open source server computes health (`dagster._core.definitions.asset_health`) and its GraphQL has it, but the
stock instance says that it is not supported, so that `assetHealth` is null. Nothing else differs; without the entry
`instance_class` in dagster.yaml all works, only without health.
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
        """Return what dagster.yaml may have beside the stock settings: nothing."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, Any]:
        """Return what holds where dagster.yaml says nothing: what holds for the stock instance."""
        return InstanceRef.config_defaults(base_dir)

    def dagster_asset_health_queries_supported(self) -> bool:
        return True

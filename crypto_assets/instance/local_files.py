"""Dagster's own files (compute logs, artifacts) under `CRYPTO_ASSETS_HOME`, instead of beside dagster.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData

from crypto_assets.config.environment import settings


class ArtifactStorage(LocalArtifactStorage):
    """Results of the default IO manager and the like, in `home/dagster`."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the schema of `config:` in dagster.yaml: nothing."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> ArtifactStorage:
        """Return the storage; called by Dagster."""
        return cls(str(settings().home / "dagster"), inst_data)


class ComputeLogs(LocalComputeLogManager):
    """What runs print, in `home/dagster/logs`."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the schema of `config:` in dagster.yaml: nothing."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> ComputeLogs:
        """Return the log manager; called by Dagster."""
        return cls(str(settings().home / "dagster" / "logs"), inst_data=inst_data)

"""Dagster's own files (compute logs, artifacts) under `CRYPTO_ASSETS_HOME`, instead of next to dagster.yaml."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData

from crypto_assets.config.environment import settings
from crypto_assets.machine.private_folder import private_folder, private_folders, private_opener


class ArtifactStorage(LocalArtifactStorage):
    """Results of the default IO manager and similar files, in `home/dagster`."""

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

    @property
    def storage_dir(self) -> str:
        """The folder of results, private to this process's user; asked for only when results are read or written."""
        private_folders(Path(self.base_dir).parent)
        private_folder(Path(self.base_dir))
        return str(private_folder(Path(self.base_dir) / "storage"))


class ComputeLogs(LocalComputeLogManager):
    """The output of runs, in `home/dagster/logs`."""

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

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Store the output of a step, private to this process's user: Dagster would use the umask."""
        for kind in ComputeIOType:
            self._make(log_key, kind)
        with super().capture_logs(log_key) as captured:
            yield captured
        Path(self.complete_artifact_path(log_key)).chmod(0o600)

    @contextmanager
    def open_log_stream(self, log_key: Sequence[str], io_type: ComputeIOType) -> Iterator[IO[bytes] | None]:
        """Yield a log to write to, private to this process's user."""
        self._make(log_key, io_type)
        with super().open_log_stream(log_key, io_type) as stream:
            yield stream

    def _make(self, log_key: Sequence[str], kind: ComputeIOType) -> None:
        """Make an empty log and its folders."""
        file = Path(self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind]))
        base = Path(self._base_dir).resolve()
        private_folders(base.parents[1])
        for folder in (base.parent, base, *reversed([one for one in file.parents if base in one.parents])):
            private_folder(folder)
        os.close(private_opener(file, os.O_WRONLY | os.O_CREAT))

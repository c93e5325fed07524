"""A Dagster instance on a fresh database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml

from crypto_assets.instance.storage import storage_url


@pytest.fixture
def open_instance(postgres_url: str, tmp_path: Path) -> Callable[..., dg.DagsterInstance]:
    """A function that opens an instance on this test's database, with `ours` or the `stock` Postgres storage."""

    def open_(kind: str = "ours", url: str = postgres_url) -> dg.DagsterInstance:
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        ours = {"module": "crypto_assets.instance.storage", "class": "InstanceStorage"}
        storage = {
            "ours": {"custom": {**ours, "config": {"postgres_url": url}}},
            "stock": {"postgres": {"postgres_url": storage_url(postgres_url)}},
        }[kind]
        (folder / "dagster.yaml").write_text(yaml.safe_dump({"storage": storage, "telemetry": {"enabled": False}}))
        return dg.DagsterInstance.from_config(str(folder))

    return open_

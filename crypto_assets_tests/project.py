"""A user's project as Dagster sees it: a sandbox, a collection, a home, a database, and the project's own dagster.yaml."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.ledger.partitions import Ledger, PartitionRecord
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.command import PROJECT, Command


def entry(datasets: Sequence[str], symbols: Sequence[str], start: date, market_type: str = "spot") -> dict[str, Any]:
    """Return one entry of collection.yaml, of the archive alone."""
    return {
        "exchange": "binance",
        "market_type": market_type,
        "datasets": list(datasets),
        "symbols": list(symbols),
        "start": start,
        "rest": False,
    }


def key(text: str) -> dg.AssetKey:
    return dg.AssetKey(text.split("/"))


@dataclass
class Project:
    """One collection over a sandbox; `environment` is what the commands of a user would see."""

    content: dict[str, Any]
    home: Path
    postgres_url: str

    @property
    def collection(self) -> Collection:
        return parse_collection(self.content)

    @property
    def command(self) -> Command:
        return Command.at(self.home, self.postgres_url)

    def definitions(self, now: Callable[[], datetime] | None = None) -> dg.Definitions:
        """Return what Dagster loads; `now` is the clock of the sensors, if it is not the real one."""
        from crypto_assets.definitions import build

        return build(self.collection) if now is None else build(self.collection, now)

    def records(self) -> dict[tuple[str, str, date], PartitionRecord]:
        """Return what the ledger knows, by symbol, dataset and day."""
        with Ledger(self.postgres_url) as ledger:
            return {(record.symbol, record.dataset, record.day): record for record in ledger.partitions()}

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The Dagster instance of the project's own dagster.yaml."""
        with dg.DagsterInstance.from_config(str(PROJECT)) as instance:
            yield instance

    def execute(self, request: dg.RunRequest, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
        """Run what a sensor or schedule asks for, as the daemon would, but in this process."""
        keys = list(request.asset_selection or ())
        job = self.definitions().get_repository_def().get_implicit_job_def_for_assets(keys)
        assert job is not None, keys
        checks = None if request.asset_check_keys is None else set(request.asset_check_keys)
        subset = job.get_subset(asset_selection=set(keys), asset_check_selection=checks)
        return subset.execute_in_process(instance=instance, tags=dict(request.tags), raise_on_error=False)


def make(sandbox: SandboxServer, home: Path, postgres_url: str, monkeypatch: Any, *entries: dict[str, Any]) -> Project:
    """Return a project, with the environment of this process set to it."""
    urls = {"archive_url": sandbox.archive_url, "listing_url": sandbox.listing_url, "rest_url": sandbox.archive_url}
    project = Project({"exchanges": {"binance": urls}, "series": list(entries)}, home, postgres_url)
    home.mkdir(parents=True, exist_ok=True)
    (home / "collection.yaml").write_text(yaml.safe_dump(project.content, sort_keys=False))
    for name in [name for name in os.environ if name.startswith(("CRYPTO_ASSETS_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in project.command.environment.items():
        monkeypatch.setenv(name, value)
    return project

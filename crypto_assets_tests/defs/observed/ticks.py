"""Runs the sensor of an observed asset, tick after tick."""

from typing import Any

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.defs.observed import Observed, build_observed
from crypto_assets.defs.resources import LakeResource, PostgresResource


class Ticks:
    """Ticks of the one sensor of a collection with one exchange; each continues with the cursor and instance of the last."""

    def __init__(self, observed: Observed, collection: Collection, lake: str, postgres_url: str) -> None:
        built = build_observed(observed, collection)
        (self.spec,), self._sensor = built.assets, built.sensor
        self._resources = {"lake": LakeResource(url=lake), "postgres": PostgresResource(url=postgres_url)}
        self.cursor: str | None = None
        self.instance = dg.DagsterInstance.ephemeral()

    def __call__(self) -> list[Any]:
        """Return the events of one tick."""
        with dg.build_sensor_context(self.instance, cursor=self.cursor) as context:
            result = self._sensor(context, **self._resources)
        if isinstance(result, dg.SkipReason):
            assert result.skip_message == "nothing changed"
            return []
        self.cursor = result.cursor
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        return list(result.asset_events)

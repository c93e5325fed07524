"""Sends the Dagster UI's own queries to a webserver: GraphQL over a workspace with the project's code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_graphql.schema import create_schema

from crypto_assets_tests.project import Project

_HEALTH = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
    assetHealth { assetHealth materializationStatus assetChecksStatus
        assetChecksStatusMetadata {
            ... on AssetHealthCheckDegradedMeta { numFailedChecks numWarningChecks totalNumChecks }
            ... on AssetHealthCheckUnknownMeta { numNotExecutedChecks totalNumChecks } } } } } }"""

_COUNTS = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    partitionStats { numMaterialized numFailed numMaterializing numPartitions } } } }"""

_CHECKS = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization {
        status evaluation { success severity description partition } } } } } } } }"""

_DAY = """query ($key: AssetKeyInput!, $day: String!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetMaterializations(partitions: [$day], limit: 1) { timestamp }
    assetObservations(partitions: [$day], limit: 5) { description partition runId metadataEntries {
        label ... on TextMetadataEntry { text } } } } } }"""


class Ui:
    """The GraphQL API of a webserver that has loaded a project; each query is its own request."""

    def __init__(self, process: WorkspaceProcessContext) -> None:
        self._process = process
        self._schema = create_schema()

    def _ask(self, query: str, asset: str, **values: Any) -> dict[str, Any]:
        context = self._process.create_request_context()
        variables = {"key": {"path": asset.split("/")}, **values}
        answer = asyncio.run(self._schema.execute_async(query, variables=variables, context_value=context))
        assert not answer.errors, answer.errors
        (found,) = answer.data.values()
        return found

    def health(self, asset: str) -> dict[str, Any]:
        """Return `assetHealth` of an asset with the query of the catalog and the asset's page."""
        return self._ask(_HEALTH, asset)["assetHealth"]

    def counts(self, asset: str) -> tuple[int, int, int]:
        """Return the partitions that an asset's page shows as materialised, failed and in progress."""
        stats = self._ask(_COUNTS, asset)["partitionStats"]
        return stats["numMaterialized"], stats["numFailed"], stats["numMaterializing"]

    def checks(self, asset: str) -> dict[str, Any]:
        """Return the latest execution of each check, None if it was never executed."""
        checks = self._ask(_CHECKS, asset)["assetChecksOrError"]["checks"]
        return {check["name"]: check["executionForLatestMaterialization"] for check in checks}

    def observed(self, asset: str, day: Any) -> list[dict[str, str]]:
        """Return the observations on the page of a day, the latest first."""
        found = self._ask(_DAY, asset, day=str(day))["assetObservations"]
        return [
            {entry["label"]: entry["text"] for entry in one["metadataEntries"]} | {"": one["description"]}
            for one in found
        ]


@contextmanager
def looking_at(mine: Project) -> Iterator[Ui]:
    """Load a project into a webserver's workspace, in this process, with the project's environment."""
    sys.modules.pop("crypto_assets.definitions", None)  # it reads the collection on import
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(executable_path=sys.executable, module_name="crypto_assets.definitions"),
        location_name="crypto_assets",
    )
    target = InProcessTestWorkspaceLoadTarget(origin)
    with mine.instance() as instance, WorkspaceProcessContext(instance, target) as process:
        yield Ui(process)

"""Observed assets, which nothing collects: the present state of an exchange, such as `binance/health`."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.defs.addresses import Addresses
from crypto_assets.defs.asset_specs import tags_of
from crypto_assets.defs.code_references import code_references
from crypto_assets.defs.presentation import shown_metadata
from crypto_assets.defs.resources import LakeResource, PostgresResource
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

__all__ = ["Built", "Found", "Observed", "build_observed", "observed_key"]


@dataclass(frozen=True, slots=True)
class Found:
    """The state of one exchange. It is observed, with the metadata, if the content differs from the last observation.

    `problem` says why the check of the asset fails; empty if it passes or there is no check.
    """

    content: str
    metadata: Mapping[str, Any]
    problem: str = ""


Look = Callable[[Collection, Sequence[str], "Ledger", LakeResource], Mapping[str, Found]]
"""Returns the state of each given exchange; an error of ledger or lake ends the tick, and the next one tries again."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One asset for each exchange, and the sensor of the same name that observes them.

    `of_exchange` describes the asset of an exchange, `description` the sensor. It looks at most every `interval_s` seconds.
    `kind` is the icon that Dagster shows, `uri` the address of what is looked at.
    `stamp` (optional) is cheap and changes whenever `look` would find something new; JSON-serialisable. `check` (optional) is
    the name and description of a check that fails if `look` finds a problem; running the check also observes the asset.
    """

    name: str
    interval_s: int | Callable[[], int]
    of_exchange: Callable[[str], str]
    description: str
    look: Look
    kind: str
    uri: Callable[[Addresses], str]
    stamp: Callable[["Ledger"], Any] | None = None
    check: tuple[str, str] | None = None


def described_by(metadata: Callable[["Ledger", Collection, str, "Lake"], Mapping[str, Any]]) -> Look:
    """Return a look whose content is the metadata of each exchange, as text."""

    @wraps(metadata)
    def look(
        collection: Collection, exchanges: Sequence[str], ledger: "Ledger", lake: LakeResource
    ) -> Mapping[str, Found]:
        result = {}
        for exchange in exchanges:
            found = metadata(ledger, collection, exchange, lake.lake())
            texts = [f"{name} {getattr(value, 'value', value)}" for name, value in sorted(found.items())]
            result[exchange] = Found("\n".join(texts), found)
        return result

    return look


def observed_key(name: str, exchange: str) -> dg.AssetKey:
    """Return the key of an asset: `binance/health`."""
    return dg.AssetKey([exchange, name])


@dataclass(frozen=True, slots=True)
class Built:
    """The Dagster definitions of one kind: an asset for each exchange, the sensor that observes them, their checks if any."""

    assets: Sequence[dg.AssetSpec]
    sensor: dg.SensorDefinition
    checks: Sequence[dg.AssetChecksDefinition]


def build_observed(observed: Observed, collection: Collection) -> Built:
    """Return an asset for each exchange of the collection, and the sensor that observes them; the sensor starts enabled."""
    exchanges = sorted({entry.exchange for entry in collection.series})
    specs = [_spec(observed, collection, exchange) for exchange in exchanges]

    @dg.sensor(
        name=observed.name,
        minimum_interval_seconds=observed.interval_s() if callable(observed.interval_s) else observed.interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=observed.description,
    )
    def observe(
        context: dg.SensorEvaluationContext, lake: LakeResource, postgres: PostgresResource
    ) -> dg.SensorResult | dg.SkipReason:
        before: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
        shown: dict[str, str] = before.get("shown", {})
        with postgres.ledger() as ledger:
            stamp = observed.stamp(ledger) if observed.stamp else None
            if stamp is not None and stamp == before.get("stamp"):
                return dg.SkipReason("nothing changed")
            found = observed.look(collection, exchanges, ledger, lake)
        now = {exchange: _digest(found[exchange]) for exchange in exchanges}
        if observed.check is not None:
            # A check run by hand may have observed another state since the last tick.
            shown = {one: _last_observed(context.instance, observed_key(observed.name, one)) for one in exchanges}
        changed = [exchange for exchange in exchanges if now[exchange] != shown.get(exchange)]
        events: list[Any] = [_observation(observed, exchange, found[exchange]) for exchange in changed]
        if observed.check is not None:
            # At every tick: the check may have been run by hand since, and Dagster shows its last result.
            judged = (_judged(observed, exchange, found[exchange]) for exchange in exchanges)
            events += [dg.AssetCheckEvaluation(**one) for one in judged]
        if not events and stamp is None:
            return dg.SkipReason("nothing changed")
        return dg.SensorResult(asset_events=events, cursor=json.dumps({"stamp": stamp, "shown": now}, sort_keys=True))

    checks = [] if observed.check is None else [_check(observed, collection, exchanges)]
    return Built(specs, observe, checks)


def _spec(observed: Observed, collection: Collection, exchange: str) -> dg.AssetSpec:
    entries = [entry for entry in collection.series if entry.exchange == exchange]
    code = observed.look.__module__, f"def {observed.look.__name__}", "its query"
    return dg.AssetSpec(
        observed_key(observed.name, exchange),
        group_name="exchanges",
        description=observed.of_exchange(exchange),
        kinds={observed.kind},
        tags=tags_of(exchange),
        owners=list(dict.fromkeys(owner for entry in entries for owner in collection.owners_of(entry))),
        metadata={
            "dagster/uri": observed.uri(Addresses.configured()),
            "dagster/code_references": code_references(code),
        },
    )


def _check(observed: Observed, collection: Collection, exchanges: Sequence[str]) -> dg.AssetChecksDefinition:
    """Return the checks of the assets of one kind, which can be run at any time; the sensor evaluates them too."""
    name, description = observed.check or ("", "")

    @dg.multi_asset_check(
        name=f"{observed.name}_{name}",
        specs=[
            dg.AssetCheckSpec(name, asset=observed_key(observed.name, one), description=description)
            for one in exchanges
        ],
    )
    def look_now(
        context: dg.AssetCheckExecutionContext, lake: LakeResource, postgres: PostgresResource
    ) -> Iterator[dg.AssetCheckResult]:
        with postgres.ledger() as ledger:
            found = observed.look(collection, exchanges, ledger, lake)
        for exchange in exchanges:
            context.op_execution_context.log_event(_observation(observed, exchange, found[exchange]))
            yield dg.AssetCheckResult(**_judged(observed, exchange, found[exchange]))

    return look_now


_CONTENT_TAG = "crypto_assets/content"
"""Metadata key with a digest of the observed content."""


def _digest(found: Found) -> str:
    return hashlib.sha256(found.content.encode()).hexdigest()[:16]


def _observation(observed: Observed, exchange: str, found: Found) -> dg.AssetObservation:
    key, tags = observed_key(observed.name, exchange), {_CONTENT_TAG: _digest(found)}
    return dg.AssetObservation(key, metadata=shown_metadata(found.metadata), tags=tags)


def _last_observed(instance: dg.DagsterInstance, key: dg.AssetKey) -> str:
    """Return the digest of the observation that the UI shows of an asset now; empty if it shows none."""
    records = instance.fetch_observations(key, limit=1).records
    last = records[0].asset_observation if records else None
    return last.tags.get(_CONTENT_TAG, "") if last else ""


def _judged(observed: Observed, exchange: str, found: Found) -> dict[str, Any]:
    """Return the arguments of a check result or a check evaluation."""
    name, _ = observed.check or ("", "")
    return {
        "asset_key": observed_key(observed.name, exchange),
        "check_name": name,
        "passed": not found.problem,
        "description": visible(found.problem) or None,
        "metadata": shown_metadata(found.metadata),
    }

"""What `crypto-assets up` says about its work: which switches are on, and which archive cannot be read.

A person may have clicked a switch in the UI. The instance remembers that, whatever collection.yaml says, so it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import httpx
import psycopg

from crypto_assets.config.automation import (
    EVERY_HOUR,
    GAPS_AT,
    RECONCILE_AT,
    TODAY_EVERY,
    Kind,
    Switch,
    automation_of,
    switches,
)
from crypto_assets.config.collection import Collection
from crypto_assets.errors import CryptoAssetsError
from crypto_assets.ledger.catalog import failing_listings

_TIMEOUT_S = 30.0

_QUESTION = """{ repositoriesOrError { __typename ... on RepositoryConnection { nodes {
    sensors { name sensorState { status } } schedules { name scheduleState { status } } } } } }"""

_NAMES: Mapping[Kind, str] = {
    "new_files": "new files",
    "today": "today",
    "fill_gaps": "gaps",
    "reconcile": "reconcile",
}


def running_switches(url: str) -> dict[str, bool]:
    """Return whether each sensor and schedule runs, as the Dagster UI at an address shows it.

    Raises:
        CryptoAssetsError: the UI does not answer, or has not loaded the code.
    """
    try:
        answer = httpx.post(f"{url}/graphql", json={"query": _QUESTION}, timeout=_TIMEOUT_S, trust_env=False)
        found: Any = answer.raise_for_status().json()["data"]["repositoriesOrError"]
        (repository,) = found["nodes"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise CryptoAssetsError(f"the Dagster UI does not say what is on: {type(error).__name__}: {error}") from error
    states = [(one["name"], one["sensorState"]) for one in repository["sensors"]]
    states += [(one["name"], one["scheduleState"]) for one in repository["schedules"]]
    return {name: state["status"] == "RUNNING" for name, state in states}


def stored_switches(collection: Collection, *, starts: bool) -> dict[str, bool]:
    """Return whether each switch runs, where no UI can be asked: as somebody clicked it, else as collection.yaml says.

    Args:
        collection: what collection.yaml says.
        starts: whether what it switches on runs from the start.
    """
    from dagster._core.scheduler.instigation import InstigatorStatus

    from crypto_assets.instance.dagster_instance import opened_instance

    with opened_instance() as instance:
        stored = {state.instigator_name: state.status for state in instance.all_instigator_state()}
    clicked = {InstigatorStatus.RUNNING: True, InstigatorStatus.STOPPED: False}
    on = {name: clicked[status] for name, status in stored.items() if status in clicked}
    return {one.kind: on.get(one.kind, one.is_on and starts) for one in switches(collection)}


def in_words(collection: Collection, running: Mapping[str, bool], today: date, *, starts: bool = True) -> list[str]:
    """Return lines for people: what is collected without anybody asking, and what was switched in the UI instead.

    Args:
        running: whether each sensor and schedule runs.
        starts: whether what collection.yaml switches on runs from the start; CRYPTO_ASSETS_AUTOMATION may say no.
    """
    known = [switch for switch in switches(collection) if switch.entries]
    on = [_words(collection, switch) for switch in known if running.get(switch.kind)]
    if on:
        lines = [", ".join(on)]
    elif all(entry.end is not None and entry.end < today for entry in collection.series):
        last = max(entry.until(today) for entry in collection.series)
        lines = [f"nothing to collect by itself: the last day is {last}"]
    else:
        lines = ["nothing is collected by itself"]
    if not starts:
        lines.append("CRYPTO_ASSETS_AUTOMATION=false: no switch is on from the start")
    clicked_on = [one for one in known if running.get(one.kind) and not (starts and one.is_on)]
    clicked_off = [one for one in known if not running.get(one.kind) and starts and one.is_on]
    for state, others in (("on", clicked_on), ("off", clicked_off)):
        if others:
            lines.append(f"switched {state} in the UI: {', '.join(_NAMES[switch.kind] for switch in others)}")
    return lines


def _words(collection: Collection, switch: Switch) -> str:
    """Return one kind, and when it works: `today (every hour)`."""
    if switch.kind == "new_files":
        series = {one for entry in switch.entries for one in entry.series}
        symbols = {symbol for entry in switch.entries for symbol in entry.symbols}
        when = f"{len(series)} series, {len(symbols):,} symbol{'' if len(symbols) == 1 else 's'}"
    elif switch.kind == "today":
        often = min(TODAY_EVERY[automation_of(collection, one).today or EVERY_HOUR] for one in switch.entries)
        when = "every hour" if often == TODAY_EVERY[EVERY_HOUR] else f"every {often} minutes"
    elif switch.kind == "fill_gaps":
        when = f"{GAPS_AT:%H:%M} UTC"
    else:
        when = f"Mondays {RECONCILE_AT:%H:%M} UTC"
    return f"{_NAMES[switch.kind]} ({when})"


def unreadable(url: str) -> list[str]:
    """Return a line for each exchange whose archive cannot be listed now: new files are not found meanwhile."""
    with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
        failing = failing_listings(connection)
    return [f"{name}: new files cannot be looked for, and that is tried again: {why}" for name, why in failing.items()]

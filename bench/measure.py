"""One measurement each: the floor, ours through Dagster, ours without Dagster, and the time to the first line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.process import Cost, run
from bench.world import FIRST, Home, Scenario


@dataclass(frozen=True, slots=True)
class Sample:
    """The cost of one child: its own, Postgres' share, and for ours through Dagster the parts of the CPU."""

    cost: Cost
    rows: int
    postgres_s: float
    parts: Mapping[str, float] = field(default_factory=dict)
    first_line_s: float | None = None


def floor(scenario: Scenario) -> Sample:
    """Run the plain script."""
    with Home(scenario, tables=False) as home:
        arguments = [scenario.archive_url, str(home.folder / "floor"), scenario.kind, scenario.exchange_symbols]
        if scenario.warehouse:
            arguments.append(home.url)
        before = home.postgres_cpu()
        cost = run("bench.floor", *arguments, environment=home.environment, log=home.folder / "floor.log")
        postgres = home.postgres_cpu() - before
        rows = home.rows("SELECT count(*) FROM floor") if scenario.warehouse else 0
        _require(home.parquet_files("floor"), scenario)
        return Sample(cost, rows, postgres)


def ours(scenario: Scenario) -> Sample:
    """Run `crypto-assets collect`, as a user does."""
    with Home(scenario) as home:
        stamps, before = home.folder / "stamps.json", home.postgres_cpu()
        days = ("--from", FIRST.isoformat(), "--to", scenario.last.isoformat())
        log = home.folder / "ours.log"
        cost = run("bench.ours", "cli", str(stamps), "collect", *days, environment=home.environment, log=log)
        postgres = home.postgres_cpu() - before
        found = json.loads(stamps.read_text())
        return Sample(
            cost,
            _stored(home, scenario),
            postgres,
            _parts(found["cpu"], cost.cpu_s),
            found["clock"]["first line"] - cost.started,
        )


def again(scenario: Scenario, runs: int) -> list[Sample]:
    """Collect, then run the same `crypto-assets collect` several times more; only these runs count."""
    with Home(scenario) as home:
        days = ("--from", FIRST.isoformat(), "--to", scenario.last.isoformat())
        log = home.folder / "ours.log"
        found = []
        for _ in range(runs + 1):
            before = home.postgres_cpu()
            cost = run("crypto_assets", "collect", *days, environment=home.environment, log=log)
            found.append(Sample(cost, _stored(home, scenario), home.postgres_cpu() - before))
        return found[1:]


def validated(scenario: Scenario) -> Sample:
    """Collect, then check all days again; only the check counts."""
    with Home(scenario) as home:
        days = ("--from", FIRST.isoformat(), "--to", scenario.last.isoformat())
        prepared = home.folder / "collected.json"
        run(
            "bench.ours",
            "cli",
            str(prepared),
            "collect",
            *days,
            environment=home.environment,
            log=home.folder / "ours.log",
        )
        stamps, before = home.folder / "stamps.json", home.postgres_cpu()
        log = home.folder / "validate.log"
        cost = run("bench.ours", "cli", str(stamps), "validate", environment=home.environment, log=log)
        rows = home.rows("SELECT sum(rows) FROM collection.partitions WHERE failed_checks = '{}'")
        return Sample(cost, rows, home.postgres_cpu() - before)


def engine(scenario: Scenario) -> Sample:
    """Run the pipeline alone, in a process that never imports Dagster."""
    with Home(scenario) as home:
        stamps, before = home.folder / "stamps.json", home.postgres_cpu()
        log = home.folder / "engine.log"
        last = scenario.last.isoformat()
        cost = run("bench.ours", "engine", str(stamps), last, environment=home.environment, log=log)
        return Sample(cost, _stored(home, scenario), home.postgres_cpu() - before)


def launched(scenario: Scenario, runs: int) -> list[tuple[float, float]]:
    """Return seconds to the first line and the worker's CPU until then, for runs launched on a code server."""
    with Home(scenario) as home:
        log = home.folder / "first_line.log"
        environment = home.environment | {"BENCH_STAMP": str(home.folder / "first_line")}
        days = (FIRST.isoformat(), scenario.last.isoformat())
        run("bench.first_line", *days, str(runs), environment=environment, log=log)
        found = next(line for line in reversed(log.read_text().splitlines()) if line.startswith("[["))
        return [(seconds, cpu) for seconds, cpu in json.loads(found)]


def _parts(cpu: Mapping[str, float], total: float) -> dict[str, float]:
    """Divide the CPU of a run.

    start-up: imports, definitions, looking symbols up, until Dagster is asked to execute. orchestration: Dagster's work
    from there to the op's first line (the run and its planned events), the reports of the batches, and the work after the
    engine except the closing. engine: the pipeline without its reports. checks: checks and comparisons inside the engine,
    and the whole closing: incidents, scores. end: the command's own summary and exit.
    """
    reports = cpu["report"]
    return {
        "start-up": cpu["execute"],
        "orchestration": cpu["first line"]
        - cpu["execute"]
        + reports
        + cpu["executed"]
        - cpu["engine done"]
        - cpu["closing"],
        "engine": cpu["engine done"] - cpu["first line"] - reports,
        "checks": cpu["checks"],
        "end": total - cpu["executed"],
    }


def _stored(home: Home, scenario: Scenario) -> int:
    """Return the stored rows, after checking that days and rows agree with the ledger."""
    _require(home.parquet_files("lake"), scenario)
    rows = home.rows("SELECT sum(rows) FROM collection.partitions WHERE state = 'available'")
    if scenario.table:
        where = " WHERE source = 'archive'" if scenario.table == "ohlcv" else ""
        found = home.rows(f"SELECT count(*) FROM market.{scenario.table}{where}")
        if found != rows:
            raise SystemExit(f"market.{scenario.table}: expected {rows} rows, found {found}")
    return rows


def _require(files: int, scenario: Scenario) -> None:
    expected = len(scenario.coins) * scenario.days * (1 + len(scenario.compared))
    if files != expected:
        raise SystemExit(f"expected {expected} Parquet files, found {files}")

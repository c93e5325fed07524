"""The selftest as a command, on an engine that keeps its promises and on engines that do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from crypto_assets.cli import cli
from crypto_assets.engine.archive import empty_days, finder, life_span, lifetime, read_files, split_days
from crypto_assets.engine.archive import review as looking
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.publication import storer, update_findings
from crypto_assets.ledger import lakes
from crypto_assets.model import Dataset, SourceFile
from crypto_assets.rows.arrange import AS_PUBLISHED, Arranged, arranged
from crypto_assets.sandbox.selftest import engine
from crypto_assets.sandbox.selftest.case import BAD


@pytest.fixture
def selftest(postgres_server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command in this process, so that parts broken by a test are broken for it too."""
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", postgres_server_url)
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["selftest", *arguments])

    return run


def broken(result: Result) -> dict[str, list[str]]:
    assert result.exit_code == 1, result.output
    report = json.loads(result.stdout)
    assert report["held"] < report["of"]
    return {item["fault"]: item["broken"] for item in report["faults"] if not item["held"]}


def test_an_engine_that_holds_ends_with_0(selftest: Callable[..., Result], tmp_path: Path) -> None:
    result = selftest("--fault", "wrong-bytes", "--fault", "nothing", "--keep", str(tmp_path / "kept"))
    assert result.exit_code == 0, result.output
    assert "3 of 3 held" in result.stdout
    for column in ("fault", "what was stored", "what was reported", "after the fault was lifted", "held"):
        assert column in result.stdout
    report = json.loads((tmp_path / "kept" / "report.json").read_text())
    assert [item["fault"] for item in report["faults"]] == ["nothing", "wrong-bytes", "wrong-bytes, once"]
    files = list((tmp_path / "kept" / "wrong-bytes" / "lake").rglob("data.parquet"))
    assert len(files) == 6
    assert {pq.read_metadata(file).num_rows for file in files} == {600, 1440}


# ---- files unchanged -------------------------------------------------------------------------------------------------


def test_an_engine_that_trusts_any_bytes_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trusting(site: ArchiveSite, feed: Any, obj: Any) -> tuple[bytes, SourceFile]:
        content = site.archive.get(f"{site.files_url}/{obj.key}").content
        return content, SourceFile(obj.key, len(content), obj.etag, "0" * 64, f"sha256:{'0' * 64}", obj.last_modified)

    monkeypatch.setattr(read_files, "download", trusting)
    found = broken(selftest("--fault", "wrong-bytes", "--json"))["wrong-bytes"]
    assert any("expected missing, reported available" in line for line in found)
    assert any("available: the rows in the lake are not those published: row 3" in line for line in found)
    assert any("available: the rows in the warehouse are not those published" in line for line in found)


def test_an_engine_that_calls_every_day_complete_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (storer, update_findings):
        monkeypatch.setattr(module, "degrading", lambda table, findings: [])
    found = broken(selftest("--fault", "missing-minutes", "--json"))["missing-minutes"]
    assert f"BTC/USDT ohlcv_1m {BAD}: expected degraded, reported available: " in found


def test_an_engine_that_loses_days_without_a_word_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = finder.locate
    monkeypatch.setattr(finder, "locate", lambda *given: replace(real(*given), absent=[]))
    found = broken(selftest("--fault", "late", "--json"))
    assert f"BTC/USDT trades {BAD}: a silent loss, the ledger has no record of it" in found["late"]


def test_an_engine_that_stores_wrong_rows_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storer, "blocking", lambda table, findings: [])
    found = broken(selftest("--fault", "inconsistent-values", "--json"))["inconsistent-values"]
    assert any("the rows in the lake are not those published" in line for line in found)


def test_an_engine_that_fails_with_a_traceback_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(*_: Any) -> None:
        raise KeyError("etag")

    monkeypatch.setattr(read_files, "download", careless)
    found = broken(selftest("--fault", "nothing", "--json"))["nothing"]
    assert f"the run ended with KeyError ({Path(__file__).name}:" in found[0]


def test_an_engine_that_hangs_is_found_out(selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crypto_assets.sandbox.selftest.engine.LONGEST_RUN_S", 1.0)
    monkeypatch.setattr(engine, "IMPATIENT", replace(engine.IMPATIENT, timeout_s=3.0))
    found = broken(selftest("--fault", "hang, listing", "--json"))["hang, listing"]
    assert "the run ended with nothing for 1 seconds: it hangs" in found


# ---- unordered rows --------------------------------------------------------------------------------------------------


def test_an_engine_that_sorts_by_time_alone_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_time(rows: pa.Table, dataset: Dataset, **_: bool) -> Arranged:
        order = np.argsort(rows.column(dataset.time_column).cast(pa.int64()).to_numpy(), kind="stable")
        return Arranged(rows.take(pa.array(order)), arranged(rows, dataset).arrangement)

    monkeypatch.setattr(split_days, "arranged", by_time)
    monkeypatch.setattr(storer, "blocking", lambda table, findings: [])
    found = broken(selftest("--fault", "swapped-rows", "--json"))["swapped-rows"]
    assert any("available: the rows in the lake are not those published: row 299" in line for line in found)


def test_an_engine_that_sorts_without_a_word_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        split_days, "arranged", lambda rows, dataset, **_: replace(arranged(rows, dataset), arrangement=AS_PUBLISHED)
    )
    found = broken(selftest("--fault", "shuffled-rows", "--json"))["shuffled-rows"]
    assert f"BTC/USDT trades {BAD}, available: expected the failed checks file_order, found none" in found


def test_an_engine_that_takes_the_first_of_two_rows_of_one_key_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_ones(rows: pa.Table, dataset: Dataset, **_: bool) -> Arranged:
        keys = rows.column(dataset.key[0]).cast(pa.int64()).to_numpy()
        return Arranged(rows.take(pa.array(np.sort(np.unique(keys, return_index=True)[1]))), AS_PUBLISHED)

    monkeypatch.setattr(split_days, "arranged", first_ones)
    found = broken(selftest("--fault", "conflicting-rows", "--json"))["conflicting-rows"]
    assert f"BTC/USDT trades {BAD}: expected missing, reported available: " in found


# ---- expected and present days ---------------------------------------------------------------------------------------


def test_an_engine_that_calls_a_lost_week_no_data_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = empty_days.due
    monkeypatch.setattr(empty_days, "due", lambda *given: replace(real(*given), opens=False))
    found = broken(selftest("--fault", "missing-bar, 1w", "--json"))["missing-bar, 1w"]
    assert any(
        line.startswith("BTC/USDT ohlcv_1w 2024-01-22: expected missing, reported no_data: no 1w bar") for line in found
    )
    assert any("2024-01-22, after the fault: expected available, reported no_data" in line for line in found)


def test_an_engine_that_calls_a_symbol_delisted_for_three_weeks_without_files_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifetime, "VERY_OLD", timedelta(days=14))
    found = broken(selftest("--fault", "late, three weeks", "--json"))["late, three weeks"]
    assert any("trades 2024-01-20: expected missing or pending, reported no_data: delisted" in line for line in found)


def test_an_engine_that_never_looks_again_at_what_it_inferred_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "_inferred", lambda *_: {})
    found = broken(selftest("--fault", "late, half a year", "--json"))["late, half a year"]
    assert any("2024-07-31, after the fault: expected available, reported no_data" in line for line in found)


def test_an_engine_that_believes_its_ledger_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lakes, "_stored", lambda *_: [])
    found = broken(selftest("--fault", "a lost file", "--fault", "another lake", "--json"))
    assert f"BTC/USDT trades {BAD}: a silent loss, it is not a gap although its rows are lost" in found["a lost file"]
    assert len([line for line in found["another lake"] if "a silent loss" in line]) == 6


def test_an_engine_that_ends_a_symbol_with_a_part_of_its_last_day_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life_span.LifeSpan, "cut", lambda _, partition: (partition, {}))
    found = broken(selftest("--fault", "expired", "--json"))["expired"]
    assert any("ohlcv_1h 2024-01-03: expected available, reported degraded: 16 of 24 bars" in line for line in found)

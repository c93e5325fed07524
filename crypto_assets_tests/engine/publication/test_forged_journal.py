"""Rows of the journal that somebody else has written: they touch no file and stop nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from crypto_assets.engine.publication.journal import Journal
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.engine.publication.conftest import FOLDER, ONE, THREE
from crypto_assets_tests.engine.publication.test_journal import (
    AFTER,
    BEFORE,
    VERSION,
    files_of,
    in_postgres,
    publish,
    publish_and_die,
    sha256,
)

# ---- rows written by somebody else --------------------------------------------------------------------------------------


def row(url: str, lake: Lake, **given: str | None) -> None:
    """Write a row of the journal; values that are not given are those of a killed process of ours."""
    sane = {
        "path": THREE,
        "folder": FOLDER,
        "staged": "staging/a/0.staged",
        "kept": None,
        "former_sha256": None,
        "sha256": sha256(b"new three"),
    }
    values = {**sane, **given, "lake": lake.store.url, "host": "h", "pid": "1"}
    with psycopg.connect(url) as connection:
        names = ", ".join(values)
        places = ", ".join(f"%({name})s" for name in values)
        connection.execute(f"INSERT INTO collection.journal ({names}) VALUES ({places})", values)


FORGED: dict[str, dict[str, str | None]] = {
    "an absolute path": {"path": "{tmp}/written"},
    "a path that leads up": {"path": "../written"},
    "a path that leads up from a day": {"path": f"{FOLDER}../../../../../written"},
    "a path of no day": {"path": "_lake.json"},
    "a path in quarantine": {"path": "quarantine/x"},
    "a path of another folder": {"path": THREE.replace("BTC", "ETH")},
    "an absolute kept": {"kept": "{tmp}/payload"},
    "a kept that leads up": {"kept": "../payload"},
    "a kept day": {"kept": ONE},
    "a kept identity": {"kept": "_lake.json"},
    "a kept version of another day": {"kept": VERSION.replace("BTC", "ETH")},
    "an absolute staged": {"staged": "{tmp}/victim"},
    "a staged that leads up": {"staged": "../victim"},
    "a staged that leads up from staging": {"staged": "staging/../../victim"},
    "a staged day": {"staged": ONE},
    "a staged version": {"staged": VERSION},
    "a staged identity": {"staged": "_lake.json"},
    "a terminal code": {"staged": "staging/\x1b]0;title\x07/0.staged"},
    "a line end": {"staged": "staging/a\nerror: forged/0.staged"},
    "a megabyte": {"staged": "staging/" + "a" * 1_000_000 + "/0.staged"},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_row_that_the_journal_cannot_have_written_touches_no_file(
    folder_lake: Lake, ledger: Ledger, tmp_path: Path, capfd: pytest.CaptureFixture[str], forged: dict[str, str | None]
) -> None:
    folder_lake.store.put("_lake.json", b"{}")
    folder_lake.store.put(VERSION, b"a former one")
    for name in ("payload", "victim"):
        (tmp_path / name).write_bytes(b"theirs")
    before = files_of(folder_lake)
    given = {name: value and value.format(tmp=tmp_path) for name, value in forged.items()}
    restores = {"former_sha256": sha256(b"theirs")} if "kept" in given or "path" in given else {}
    row(ledger.url, folder_lake, **{"kept": f"{tmp_path}/payload" if "path" in given else None, **restores, **given})

    assert Journal(folder_lake, ledger).recover() == 0
    assert files_of(folder_lake) == before
    assert {path.name for path in tmp_path.iterdir()} == {"lake", "payload", "victim"}
    assert (tmp_path / "payload").read_bytes() == (tmp_path / "victim").read_bytes() == b"theirs"
    said = capfd.readouterr().err
    assert said.startswith("a row of collection.journal is not believed (path ")
    assert said.count("\n") == 1
    assert len(said) < 2_000
    assert said[:-1].isprintable()
    assert in_postgres(ledger.url)[1:] == (0, 0), "the row was removed, so it is reported once"


def test_a_forged_row_stops_nothing_else(
    folder_lake: Lake, ledger: Ledger, at_step: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    publish_and_die(folder_lake, ledger, at_step, "moved")
    (tmp_path / "victim").write_bytes(b"theirs")
    row(ledger.url, folder_lake, path="/etc/cron.d/x", staged=f"{tmp_path}/victim")
    row(ledger.url, folder_lake, path="/etc/cron.d/y", staged="../victim", folder="another/")
    assert Journal(folder_lake, ledger).recover() == 3
    assert files_of(folder_lake) == BEFORE
    assert (tmp_path / "victim").exists()
    assert capfd.readouterr().err.count("is not believed") == 2
    publish(folder_lake, ledger)
    assert files_of(folder_lake) == AFTER


def test_a_forged_row_does_not_stop_who_publishes_there(folder_lake: Lake, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"theirs")
    row(ledger.url, folder_lake, path=ONE, staged=f"{tmp_path}/victim")
    publish(folder_lake, ledger)
    assert files_of(folder_lake) == AFTER
    assert (tmp_path / "victim").exists()


@pytest.mark.parametrize("what", ["staging/a", "versions/exchange=binance"])
def test_a_row_leads_nowhere_through_a_link(
    folder_lake: Lake, ledger: Ledger, tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    kept = VERSION.replace("01-01", "01-03")
    victim = elsewhere / ("0.staged" if what == "staging/a" else kept.partition("binance/")[2])
    victim.parent.mkdir(parents=True)
    victim.write_bytes(b"theirs")
    (tmp_path / "lake" / what).parent.mkdir(exist_ok=True)
    (tmp_path / "lake" / what).symlink_to(elsewhere)
    row(ledger.url, folder_lake, kept=None if what == "staging/a" else kept, former_sha256=sha256(b"theirs"))
    assert Journal(folder_lake, ledger).recover() == 0
    assert victim.read_bytes() == b"theirs"
    assert files_of(folder_lake) == BEFORE
    assert "found a link" in capfd.readouterr().err

"""Days of two archives are not mixed: the ledger knows where stored days came from."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml

import crypto_assets
from crypto_assets.client.home import warn_other_origins
from crypto_assets.config.collection import load_collection, parse_collection
from crypto_assets.config.environment import at_home
from crypto_assets.defs.observed.coverage import COVERAGE
from crypto_assets.defs.resources import LakeResource
from crypto_assets.errors import OtherOriginWarning
from crypto_assets.ledger.origins import THIS_MACHINE, origin_of, other_origins
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests import project
from crypto_assets_tests.api.served import serving

FIRST = date(2024, 1, 1)
REAL = "https://data.binance.vision"


@pytest.fixture
def mine(tmp_path: Path, postgres_url_with_all_tables: str, monkeypatch) -> Iterator[project.Project]:
    """Two days of a sandbox, collected as a user does."""
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, date(2024, 1, 9), trades_per_day=300)) as sandbox:
        entry = project.entry(["ohlcv_1m"], ["BTC/USDT"], FIRST) | {"end": date(2024, 1, 2)}
        made = project.make(sandbox, tmp_path, postgres_url_with_all_tables, monkeypatch, entry)
        answer = made.command("collect", "--from", "2024-01-01", "--to", "2024-01-02")
        assert answer.code == 0, answer
        yield made


def other_origins_of(mine: project.Project) -> str:
    with Ledger(mine.postgres_url) as ledger:
        (line,) = other_origins(ledger, load_collection(mine.home / "collection.yaml"))
    return line


def configure(mine: project.Project, **exchanges: object) -> None:
    (mine.home / "collection.yaml").write_text(yaml.safe_dump(mine.content | {"exchanges": exchanges}))


def test_days_of_a_sandbox_never_pass_as_those_of_the_exchange(
    mine: project.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(mine)  # the real exchange, which no command may ask
    said = rf"binance: the stored days came from {THIS_MACHINE}, and collection.yaml names {REAL}: .*--new-origin"
    outcomes = {}
    commands = [
        *("config check", "gaps", "status", "fill", "collect --from 2024-01-01 --to 2024-01-02"),
        *("catalog", "symbols", "quality", f"lock -o {mine.home / 'a.lock'}", f"report -o {mine.home / 'report'}"),
        "sql VALUES(1)",
    ]
    for command, answer in zip(commands, mine.command.sequence(*commands), strict=True):
        found = " ".join((answer.out + answer.err).split())
        assert re.search(said, found), (command, found)
        assert found.count("the stored days came from") == 1, (command, found)
        outcomes[command.split()[0]] = answer.code
    reading = dict.fromkeys(("catalog", "symbols", "quality", "lock", "report", "sql"), 0)
    assert outcomes == {"config": 0, "gaps": 0, "status": 0, "fill": 1, "collect": 1} | reading

    line = other_origins_of(mine)
    assert re.fullmatch(said.replace(r".*--new-origin", r".*--new-origin` accepts it"), line)
    days = ("binance", "BTC/USDT", "ohlcv_1m", "2024-01-01", "2024-01-02")
    with monkeypatch.context() as elsewhere, at_home(mine.home), warnings.catch_warnings():
        warnings.simplefilter("error")
        elsewhere.setenv("CRYPTO_ASSETS_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
        warn_other_origins(["binance"])  # the database does not answer: nothing is known, and the next look must tell
    with pytest.warns(OtherOriginWarning, match=re.escape(line)) as told:
        rows = crypto_assets.read(*days)
    assert (len(rows), [one.filename for one in told]) == (2_880, [__file__])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(crypto_assets.read(*days)) == len(rows), "once is enough"
        assert len(crypto_assets.coverage(*days)) == 2
    with pytest.warns(OtherOriginWarning, match="the stored days came from"):
        assert list(crypto_assets.catalog()["rows"]) == [2_880]
    with serving(mine.postgres_url, mine.home / "collection.yaml") as api:
        assert api.get("/v1/status").json()["other_origins"] == [line]
    with Ledger(mine.postgres_url) as ledger:
        collection = load_collection(mine.home / "collection.yaml")
        metadata = COVERAGE.look(collection, ["binance"], ledger, LakeResource())["binance"].metadata
    assert metadata["origin"] == line

    configure(mine, **mine.content["exchanges"])
    for answer in mine.command.sequence("config check", "gaps", "fill"):
        assert (answer.code, "stored days came from" in answer.out + answer.err) == (0, False), answer


def test_another_archive_is_used_after_a_person_has_accepted_it(mine: project.Project) -> None:
    configure(mine)
    accepted = mine.command("fill", "--new-origin")  # all days are stored: nothing is asked of the exchange
    assert (accepted.code, accepted.out.strip()) == (0, "nothing is missing")
    assert "stored days came from" not in mine.command("gaps").err
    configure(mine, **mine.content["exchanges"])
    assert f"the stored days came from {REAL}, and" in " ".join(mine.command("gaps").err.split())


def test_an_archive_is_named_by_scheme_and_host(postgres_url: str) -> None:
    series = [project.entry(["ohlcv_1m"], ["BTC/USDT"], FIRST)]

    def origin(url: str | None) -> str:
        exchanges = {} if url is None else {"binance": {"archive_url": url}}
        return origin_of(parse_collection({"series": series, "exchanges": exchanges}), "binance")

    assert origin(None) == origin(f"{REAL}/") == origin("https://DATA.binance.vision/mirror") == REAL
    assert origin("http://127.0.0.1:8765") == origin("http://localhost:1") == origin("http://[::1]:2") == THIS_MACHINE
    assert origin("https://mirror.example.com:8443/x") == "https://mirror.example.com:8443"

    migrate(postgres_url)
    with Ledger(postgres_url) as ledger:
        assert other_origins(ledger, parse_collection({"series": series})) == [], "nothing is stored yet"

"""The Dagster UI that `crypto-assets up` serves, as a person uses it, in a real Chromium.

CRYPTO_ASSETS_SCREENSHOT=docs takes the pictures of the docs on the way.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crypto_assets.checks import rules_of
from crypto_assets.model import Series, State, days_between
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.instance.test_up import Up
from crypto_assets_tests.project import entry, key
from crypto_assets_tests.published import rows_of, text_of
from crypto_assets_tests.waiting import wait_for

playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")

pytestmark = pytest.mark.browser

START, LISTED, COLLECTED = date(2023, 12, 31), date(2024, 1, 1), date(2024, 1, 5)
BACKFILL = days_between(date(2024, 1, 8), date(2024, 1, 12))
BROKEN = date(2024, 1, 20)
BARS = "data/spot/daily/klines/{}USDT/1m/{}USDT-1m-{}.zip"
ASSET = "binance/spot/ohlcv_1m/BTC-USDT"
RULES = rules_of(Series.named("binance", "spot", "ohlcv_1m"))
# Not compared with the monthly file and REST; six days do not show what is usual; no file's appearance was observed.
JUDGED = len(
    {rule.name for rule in RULES} - {"agrees_with_monthly", "agrees_with_rest", "outliers", "published_in_time"}
)
PICTURES = os.environ.get("CRYPTO_ASSETS_SCREENSHOT")
SWITCHES = [
    f"--{switch}"
    for switch in (
        *("no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
    )
]


def chromium() -> str | None:
    """Return an installed browser, or None for Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        path = chromium()
        if path is None and not Path(running.chromium.executable_path).exists():
            pytest.skip("no Chromium: install one, or run `playwright install chromium`")
        opened = running.chromium.launch(executable_path=path, args=SWITCHES)
        yield opened
        opened.close()


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    symbols = {"spot": {name: (LISTED, date(2024, 1, 31)) for name in ("BTCUSDT", "ETHUSDT")}}
    with SandboxServer(SyntheticArchive(symbols, seed=2, trades_per_day=6_000)) as server:
        yield server


@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_user_looks_at_an_asset_and_backfills_others_from_the_page(
    browser, sandbox, tmp_path, postgres_url, monkeypatch
):
    # Nothing is collected but what this test asks for.
    by_hand = entry(["ohlcv_1m"], ["BTC/USDT", "ETH/USDT"], START) | {"automation": False}
    mine = project.make(sandbox, tmp_path, postgres_url, monkeypatch, by_hand)
    answer = mine.command("collect", "--from", str(START), "--to", str(COLLECTED), "--symbol", "BTC/USDT")
    assert answer.code == 0, answer.err

    with Up(mine.command) as up:
        up.ready()
        assert up.printed[0].split() == ["Dagster", "UI", up.url]
        assert len(up.children()) == 4

        page = browser.new_page(viewport={"width": 1400, "height": 1010})
        page.set_default_timeout(60_000)
        try:
            sees_the_coverage_with_one_click(page, up.url)
            filters_the_catalog_by_a_tag(page, up.url)
            sees_the_asset(page, up.url)
            sees_where_it_comes_from_and_goes_to(page, up.url)
            sees_a_day_with_its_rows_and_candles(page, up.url, sandbox)
            sees_the_checks(page, up.url)
            launches_a_backfill_and_sees_it_succeed(page, up.url, mine)
            sees_why_a_run_failed(page, up.url, mine, sandbox)
        except BaseException:
            page.screenshot(path=tmp_path / "failed.png")
            raise
        page.close()

    assert up.process.returncode == 0
    assert wait_for("no process is left", lambda: not up.children())


ANIMATIONS_END = """() => Promise.all(document.getAnimations()
    .filter(one => one.effect.getComputedTiming().iterations !== Infinity).map(one => one.finished.catch(() => null)))"""


def visible(page: Any, text: str) -> None:
    page.get_by_text(text).first.wait_for(state="visible")


def picture(page: Any, name: str) -> None:
    """Take a picture of the page for the docs, if pictures are wanted."""
    if PICTURES:
        page.mouse.move(700, 8)
        page.evaluate(ANIMATIONS_END)
        page.screenshot(path=Path(PICTURES) / name)


def sees_the_coverage_with_one_click(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_url("**/assets")
    page.locator("a[href$='/assets/binance/coverage']").first.click()
    days = days_between(START, datetime.now(UTC).date() - timedelta(days=1))
    visible(page, f"Incomplete: {2 * len(days) - 6:,} of {2 * len(days):,} days are missing or partial")
    drawn = page.locator("img[alt='coverage']")
    drawn.first.wait_for(state="visible")
    assert drawn.count() == 1  # one series
    assert drawn.evaluate("image => [image.complete, image.naturalWidth]") == [True, 460]
    visible(page, f"{START} to ")
    picture(page, "ui-coverage.png")


def filters_the_catalog_by_a_tag(page: Any, url: str) -> None:
    page.goto(f"{url}/assets?asset-selection=tag%3A%22symbol%22%3D%22ETH-USDT%22")
    visible(page, "ETH-USDT")
    links = page.locator("a[href*='/assets/'][href$='-USDT']")
    wait_for("two assets", lambda: links.count() == 2)
    names = {link.get_attribute("href").partition("/assets/")[2] for link in links.all()}
    assert names == {"binance/spot/ohlcv_1m/ETH-USDT", "warehouse/binance/spot/ohlcv/ETH-USDT"}
    picture(page, "ui-catalog.png")


def sees_where_it_comes_from_and_goes_to(page: Any, url: str) -> None:
    page.goto(f"{url}/asset-groups/")
    for group in ("source_binance_spot", "binance_spot_ohlcv_1m", "warehouse_binance_spot_ohlcv"):
        visible(page, group)
    picture(page, "ui-lineage.png")
    page.goto(f"{url}/assets/source/binance/spot/ohlcv_1m")
    visible(page, "What binance publishes: spot ohlcv_1m.")
    visible(page, "External Asset")


def sees_the_asset(page: Any, url: str) -> None:
    page.goto(f"{url}/assets")
    row = page.get_by_test_id(f"row-link-{ASSET}")
    link = row if row.count() else page.locator(f"a[href$='/assets/{ASSET}']").first
    link.wait_for(state="visible")
    assert page.get_by_text("Join the Dagster community").count() == 0
    link.click()
    page.wait_for_url(f"**/assets/{ASSET}*")
    visible(page, "BTC/USDT ohlcv_1m, binance spot.")
    visible(page, "amount of the trades in which the taker bought; base")
    visible(page, "binance_spot_ohlcv_1m")
    for words in ("exchange: binance", "market_type: spot", "dataset: ohlcv_1m", "symbol: BTC-USDT"):
        visible(page, words)
    visible(page, "from 04:00 UTC on, mostly by 12:00 UTC")
    visible(page, "Source code")
    page.locator("a", has_text="its columns").first.wait_for(state="visible")
    visible(page, "symbol=BTC-USDT/")
    picture(page, "ui-asset.png")


def sees_a_day_with_its_rows_and_candles(page: Any, url: str, sandbox: SandboxServer) -> None:
    page.goto(f"{url}/assets/{ASSET}?view=partitions")
    visible(page, "Materialized (6)")
    visible(page, "Failed (0)")
    page.get_by_placeholder("Filter by name…").fill("2024-01-0")
    page.get_by_text("2024-01-03", exact=True).first.click()
    visible(page, f"all {JUDGED} passed, {len(RULES) - JUDGED - 2} not judged")
    content = sandbox.app.state.source.read(BARS.format("BTC", "BTC", "2024-01-03"))
    rows = rows_of("klines", text_of(content))
    for text in (
        "available",
        "1440",
        hashlib.sha256(content).hexdigest(),
        BARS.format("BTC", "BTC", "2024-01-03"),
        f"{rows[0][1].normalize():f}",
        f"{rows[-1][4].normalize():f}",
    ):
        visible(page, text)
    candles = page.locator("img[src^='data:image/svg+xml']")
    candles.wait_for(state="visible")
    assert candles.evaluate("image => [image.complete, image.naturalWidth]") == [True, 498]
    picture(page, "ui.png")
    # The day before the symbol was listed is explained.
    page.goto(f"{url}/assets/{ASSET}?view=partitions&partition={START}")
    visible(page, f"not listed before {LISTED}")


def sees_the_checks(page: Any, url: str) -> None:
    page.goto(f"{url}/assets/{ASSET}?view=checks&checkDetail=complete")
    visible(page, f"Checks ({len(RULES) + 1})")
    visible(page, "Every bar of the day")
    visible(page, "Failed on none of 6 days that were requested.")
    page.get_by_role("cell", name="days_judged_in_this_run").wait_for(state="visible")
    assert page.get_by_text("Succeeded", exact=True).count() == JUDGED
    assert page.get_by_text("Failed", exact=True).count() == 1  # all_days_complete: some days are not collected yet
    assert page.get_by_text(re.compile("^not evaluated$", re.IGNORECASE)).count() == len(RULES) - JUDGED
    assert page.get_by_text("Skipped", exact=True).count() == 0
    page.get_by_text("Execution history").click()
    visible(page, str(COLLECTED))


def launches_a_backfill_and_sees_it_succeed(page: Any, url: str, mine: project.Project) -> None:
    page.goto(f"{url}/assets")
    names = [
        f"{prefix}/{name}/BTC-USDT"
        for prefix, name in (("binance/spot", "ohlcv_1m"), ("warehouse/binance/spot", "ohlcv"))
    ]
    names += [name.replace("BTC", "ETH") for name in names]
    for name in names:
        page.locator(f"label:has([data-testid='checkbox-{name}'])").click()
    page.get_by_role("button", name=re.compile(r"Materialize selected \(4\)")).click()
    visible(page, "Launch runs to materialize 4 assets")
    # The dialog offers the last 90 days first.
    page.get_by_text("Show all partitions").click()
    days = page.get_by_placeholder(re.compile("^ex: "))
    days.fill(f"[{BACKFILL[0]}...{BACKFILL[-1]}]")
    days.press("Enter")
    visible(page, f"{len(BACKFILL)} partitions")
    page.get_by_role("button", name="Launch backfill").click()

    with mine.instance() as instance:

        def runs() -> Any:
            return [run for run in instance.get_runs() if "dagster/backfill" in run.tags]

        # Dagster's backfill daemon checks every 30 s.
        (run,) = wait_for("the backfill's run", runs)
        page.goto(f"{url}/runs/{run.run_id}")
        page.get_by_text("Success", exact=True).first.wait_for(state="visible")
        (run,) = runs()
        assert {asset.to_user_string() for asset in run.asset_selection} == set(names)
        for name in names:
            assert {str(day) for day in BACKFILL} <= instance.get_materialized_partitions(key(name))
    records = mine.records()
    found = {name: (r.state, r.rows) for name, r in records.items() if name[2] in BACKFILL}
    symbols = ("BTC/USDT", "ETH/USDT")
    assert found == {(symbol, "ohlcv_1m", day): (State.AVAILABLE, 1440) for symbol in symbols for day in BACKFILL}
    for symbol in symbols:
        for day in BACKFILL:
            record = records[symbol, "ohlcv_1m", day]
            stored = (mine.home / "lake" / record.path).read_bytes()
            assert hashlib.sha256(stored).hexdigest() == record.content_sha256
    page.goto(f"{url}/assets/binance/spot/ohlcv_1m/ETH-USDT?view=partitions")
    visible(page, f"Materialized ({len(BACKFILL)})")


def sees_why_a_run_failed(page: Any, url: str, mine: project.Project, sandbox: SandboxServer) -> None:
    sandbox.app.state.overrides[BARS.format("ETH", "ETH", BROKEN)] = b"not the file"
    answer = mine.command("collect", "--from", str(BROKEN), "--to", str(BROKEN), "--symbol", "ETH/USDT")
    assert answer.code == 1
    with mine.instance() as instance:
        run = instance.get_runs(limit=1)[0]
    page.goto(f"{url}/runs/{run.run_id}")
    visible(page, "1 of 1 days are not complete")
    visible(page, f"binance spot ETH/USDT ohlcv_1m {BROKEN}: missing: ")
    for asset in ("binance/spot/ohlcv_1m/ETH-USDT", "warehouse/binance/spot/ohlcv/ETH-USDT"):
        page.goto(f"{url}/assets/{asset}?view=partitions&partition={BROKEN}")
        visible(page, "Failed (1)")
        visible(page, "failed, and did not materialize this asset.")
        # For a day that was never materialised, Dagster shows the metadata here, one click away.
        page.get_by_text("View all historical events (1)").click()
        page.get_by_role("dialog").get_by_text(str(BROKEN), exact=True).click()
        visible(page, "upstream_bad_file")
        visible(page, "shows the refused file")
    page.goto(f"{url}/assets/binance/spot/ohlcv_1m/ETH-USDT?view=checks&checkDetail=all_days_complete")
    due = len(days_between(START, datetime.now(UTC).date() - timedelta(days=1)))
    fresh = due - len(BACKFILL) - 1
    visible(page, f"Incomplete: {fresh + 1:,} of {due:,} days: missing {BROKEN}; {fresh:,} days not collected yet")

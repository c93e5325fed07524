"""An exchange whose REST answers up to a clock that tests set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.market import Bars, Instrument, Market
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.workbench import Workbench

START, YESTERDAY, TODAY = date(2024, 12, 1), date(2025, 1, 3), date(2025, 1, 4)


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    archive = SyntheticArchive(
        {"spot": ["BTCUSDT"], "linear": ["BTCUSDT"]}, START, date(2025, 1, 31), seed=5, trades_per_day=2_400
    )
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    source = running.app.state.source
    running.forget_requests()
    yield running
    source.now, source.oldest_ids = None, {}
    if isinstance(source.market, _Down):
        set_market(running, Market(source.market.seed))
    running.app.state.overrides.clear()
    running.app.state.faults.off()
    running.app.state.limits.forget()


Open = Callable[..., Workbench]


@pytest.fixture
def bench(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Open:
    """A function that opens a workbench for some entries at an instant."""

    def open_at(now: datetime, *entries: dict[str, Any]) -> Workbench:
        work = Workbench(sandbox, postgres_url, tmp_path / "lake", *entries)
        set_clock(work, now)
        return work

    return open_at


def set_clock(work: Workbench, now: datetime) -> None:
    """Set the clock of the exchange and of the project to `now`."""
    work.sandbox.app.state.source.now = now
    work.now = lambda: now


def set_market(sandbox: SandboxServer, market: Market) -> None:
    """Publish another market, and forget the requests."""
    source = sandbox.app.state.source
    source.stand_still([])
    source._market = market


# ---- faults of an exchange -------------------------------------------------------------------------------------------


class _Down(Market):
    """A market without bars in some hours, like Binance's after an outage, and with the trades moved out of them."""

    def __init__(self, seed: int, start: datetime, end: datetime) -> None:
        super().__init__(seed)
        self.span = int(start.timestamp()) * 1_000_000, int(end.timestamp()) * 1_000_000

    def bars(self, item: Instrument, interval: str, day: date) -> Bars:
        bars = super().bars(item, interval, day)
        kept = (bars.open_time < self.span[0]) | (bars.open_time >= self.span[1])
        return Bars(**{name: getattr(bars, name)[kept] for name in Bars.__slots__})

    def trades(self, item: Instrument, day: date) -> Any:
        found = super().trades(item, day)
        inside = (found.time >= self.span[0]) & (found.time < self.span[1])
        return replace(found, time=np.where(inside, self.span[0] - 1, found.time))

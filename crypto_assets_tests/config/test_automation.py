"""The key `automation:` of collection.yaml, and what `up` says about it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from crypto_assets.config.automation import KINDS, automation_of, switches
from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.errors import ConfigError
from crypto_assets.instance.switches import in_words

BTC: dict[str, Any] = {
    "exchange": "binance",
    "market_type": "spot",
    "datasets": ["ohlcv_1m", "trades"],
    "symbols": ["BTC/USDT"],
    "start": "2024-01-01",
}
ETH: dict[str, Any] = BTC | {"symbols": ["ETH/USDT"], "name": "eth"}
TODAY = date(2024, 6, 1)


def collection(btc: Any = None, everywhere: Any = None, **more: Any) -> Collection:
    """Return a collection of two entries; `btc` is what the first one says, `everywhere` what the file says."""
    first = {**BTC, **more} if btc is None else {**BTC, **more, "automation": btc}
    content = {"series": [first, {**ETH, **more}]}
    return parse_collection(content if everywhere is None else content | {"automation": everywhere})


def on(found: Collection) -> dict[str, tuple[list[str], bool]]:
    """Return the first symbols of the entries that each switch collects, and whether it is on from the start."""
    return {
        one.kind: ([entry.symbols[0].partition("/")[0] for entry in one.entries], one.is_on) for one in switches(found)
    }


BOTH = ["BTC", "ETH"]


def of_first(found: Collection) -> dict[str, Any]:
    return automation_of(found, found.series[0]).model_dump()


def test_everything_is_on_by_default() -> None:
    assert on(collection()) == dict.fromkeys(KINDS, (BOTH, True))
    assert of_first(collection())["today"] == "1h"


def test_an_entry_may_differ_from_the_file_in_single_kinds() -> None:
    assert on(collection({"today": False})) == dict.fromkeys(KINDS, (BOTH, True)) | {"today": (["ETH"], True)}
    assert on(collection(False)) == dict.fromkeys(KINDS, (["ETH"], True))
    found = collection({"new_files": True}, False)
    assert on(found)["new_files"] == (["BTC"], True)
    assert of_first(found) == {
        "new_files": True,
        "today": "",
        "fill_gaps": False,
        "reconcile": False,
    }
    assert of_first(collection({"today": "15m"}, {"reconcile": False})) == {
        "new_files": True,
        "today": "15m",
        "fill_gaps": True,
        "reconcile": False,
    }


def test_a_switch_that_is_off_for_all_is_for_every_entry_that_does_not_refuse_it() -> None:
    assert on(collection(None, False)) == dict.fromkeys(KINDS, (BOTH, False))
    assert on(collection(False, False)) == dict.fromkeys(KINDS, (["ETH"], False))


def test_today_needs_an_entry_that_may_ask_rest() -> None:
    assert "today" not in on(collection(rest=False))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("off", "automation: expected false, true or the kinds with true or false (new_files, today, fill_gaps"),
        (None, "automation: expected false, true or the kinds"),
        ({"new_files": "yes"}, "automation.new_files: expected true or false, found 'yes'"),
        ({"fill_gaps": 1}, "automation.fill_gaps: expected true or false, found 1"),
        ({"today": "2m"}, "automation.today: expected true, false or how often: 15m, 30m, 1h; found '2m'"),
        ({"today": 15}, "automation.today: expected true, false or how often: 15m, 30m, 1h; found 15"),
        ({"to_day": True}, "automation.to_day: unknown key; did you mean 'today'?"),
        ({"daily": True}, "automation.daily: unknown key; "),
    ],
)
def test_a_mistake_is_said_with_its_place(said: Any, message: str) -> None:
    for place, content in (
        ("", {"series": [BTC], "automation": said}),
        ("series[0].", {"series": [BTC | {"automation": said}]}),
    ):
        if place and said is None:  # as left out: so an entry is written out again
            assert parse_collection(content).series[0].automation is None
            continue
        with pytest.raises(ConfigError) as caught:
            parse_collection(content)
        assert str(caught.value).startswith(f"collection: {place}{message}")


def test_a_collection_that_is_written_out_is_read_as_it_was() -> None:
    for one in (collection(None, False), collection({"today": False}), collection(rest=False)):
        assert parse_collection(one.model_dump(mode="json")) == one


ALL_ON = dict.fromkeys(KINDS, True)


@pytest.mark.parametrize(
    ("found", "running", "lines"),
    [
        (
            collection(),
            ALL_ON,
            ["new files (2 series, 2 symbols), today (every hour), gaps (13:00 UTC), reconcile (Mondays 05:00 UTC)"],
        ),
        (
            collection({"today": "30m"}, {"reconcile": False}),
            {"new_files": True, "today": True},
            ["new files (2 series, 2 symbols), today (every 30 minutes)", "switched off in the UI: gaps"],
        ),
        (collection(None, False), {}, ["nothing is collected by itself"]),
        (
            collection(None, False),
            {"today": True},
            ["today (every hour)", "switched on in the UI: today"],
        ),
        (
            collection(None, False, end="2024-02-01"),
            {},
            ["nothing to collect by itself: the last day is 2024-02-01"],
        ),
    ],
)
def test_up_says_what_is_on_and_what_a_person_has_switched(
    found: Collection, running: dict[str, bool], lines: list[str]
) -> None:
    assert in_words(found, running, TODAY) == lines


def test_up_blames_no_click_for_switches_that_the_environment_keeps_off() -> None:
    kept_off = "CRYPTO_ASSETS_AUTOMATION=false: no switch is on from the start"
    assert in_words(collection(), {}, TODAY, starts=False) == ["nothing is collected by itself", kept_off]
    assert in_words(collection(), {"today": True}, TODAY, starts=False) == [
        "today (every hour)",
        kept_off,
        "switched on in the UI: today",
    ]

"""Text that others have made never gives orders to a terminal, a log or a page."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

import crypto_assets.cli
from crypto_assets.access.problem import Json
from crypto_assets.cli import console
from crypto_assets.errors import ConfigError, CryptoAssetsError, IncompleteData
from crypto_assets.model import Outcome, Partition, Series, State
from crypto_assets.quality.lock.content import DaysWithoutFile, Lock, to_text
from crypto_assets.quality.query import Query
from crypto_assets.text.visible import visible, visible_in, visible_json, visible_lines

TITLE = "\x1b]0;owned\x07"

CODES = {
    TITLE: r"\x1b]0;owned\x07",
    "\x1b[2J": r"\x1b[2J",
    "\x9b31m": r"\x9b31m",
    "\x7f": r"\x7f",
    "\0": r"\x00",
    "\r": r"\r",
    "\n": r"\n",
    "\t": r"\t",
    "\u202eevil": r"\u202eevil",
    "\u2066\u2069": r"\u2066\u2069",
    "\u200f": r"\u200f",
    "\u2028": r"\u2028",
    "\ud800": r"\ud800",
    "\U000e0041": r"\U000e0041",
}


@pytest.mark.parametrize(("code", "shown"), CODES.items(), ids=map(ascii, CODES))
def test_a_control_character_is_shown_as_its_escape(code: str, shown: str) -> None:
    assert visible(f"a{code}b") == f"a{shown}b"


@pytest.mark.parametrize(
    "text", ["", "BTC/USDT", "币安人生/USDT", "1 – 2 … ‘x’", "a\u00a0b", "[red]x[/red]", "\\x1b", "😀"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert visible(text) is text or visible(text) == text
    assert visible_lines(f"{text}\n{text}") == f"{text}\n{text}"


@given(st.text(st.characters()))
def test_whatever_comes_is_one_line_that_can_be_printed(text: str) -> None:
    shown = visible(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_json_with_codes_has_the_same_content_without_them(value: Any) -> None:
    for indent in (None, 1):
        text = visible_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
        assert json.loads(text) == value
        text.encode()


def test_a_lock_file_and_an_answer_of_the_api_have_no_codes() -> None:
    hidden = DaysWithoutFile(
        exchange="binance",
        market_type="spot",
        symbol="BTC/USDT",
        dataset="trades",
        first=date(2024, 1, 1),
        last=date(2024, 1, 2),
        state="missing",
        reason="x\x9b2J\u202e币",
    )
    at = datetime(2024, 2, 1, tzinfo=UTC)
    for text in (to_text(Lock(Query(), None, (), (hidden,), at)), Json({"reason": hidden.reason}).body.decode()):
        assert r'"x\u009b2J\u202e币"' in text
        assert text.replace("\n", "").isprintable()


def test_values_are_looked_through() -> None:
    assert visible_in({"a\x1b": ["\x9b", ("\n", 1, None)]}) == {r"a\x1b": [r"\x9b", [r"\n", 1, None]]}


def test_no_error_and_no_outcome_has_a_code_or_a_line_of_others() -> None:
    assert str(CryptoAssetsError(f"x{TITLE}\nerror: forged")) == r"x\x1b]0;owned\x07\nerror: forged"
    assert str(ConfigError(["one", "two\nthree"])) == "one\ntwo\\nthree"
    assert str(IncompleteData(["one", f"two{TITLE}"], [])) == "one\ntwo\\x1b]0;owned\\x07"
    day = Partition("BTC/USDT", date(2024, 1, 1))
    outcome = Outcome(Series("binance", "spot", "trades"), day, State.MISSING, f"x{TITLE}\ny")
    assert outcome.reason == r"x\x1b]0;owned\x07\ny"


def printed(terminal: bool, show: str, text: str) -> str:
    file = io.StringIO()
    out = console._Console(file=file, force_terminal=terminal, soft_wrap=True, highlight=False, emoji=False, width=200)
    if show == "a table":
        table = Table("x")
        table.add_row(text)
        out.print(table, markup=False)
    else:
        out.print(console.escape(text) if show == "markup" else text, markup=show == "markup")
    return file.getvalue()


@pytest.mark.parametrize("show", ["plain", "markup", "a table"])
@pytest.mark.parametrize("code", CODES, ids=map(ascii, CODES))
def test_the_console_prints_no_code(code: str, show: str) -> None:
    if show == "a table" and code == "\n":
        return  # a cell may have lines, all of them in its column
    lines = printed(False, show, f"[red]a{code}b").split("\n")
    assert any(f"[red]a{CODES[code]}b" in line for line in lines)
    assert all(line.isprintable() for line in lines)
    on_terminal = re.sub(r"\x1b\[[0-9;]*m", "", printed(True, show, f"a{code}b"))
    assert on_terminal.replace("\n", "").isprintable()


def test_an_error_keeps_its_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_error(str(ConfigError(["one [x]", f"two{TITLE}\nerror: three"])))
    assert capsys.readouterr().err == "error: one [x]\ntwo\\x1b]0;owned\\x07\\nerror: three\n"
    console.print_line(f"a{TITLE}\nb [x]")
    assert capsys.readouterr().out == "a\\x1b]0;owned\\x07\\nb [x]\n"


def test_commands_print_through_the_console_or_as_json() -> None:
    calls = re.compile(r"(?:click\.echo|(?<!def )(?<![\w._])print|sys\.std(?:out|err)\.write)\((\w+)")
    files = Path(crypto_assets.cli.__file__).parent.rglob("*.py")
    found = {(file.name, what) for file in files for what in calls.findall(file.read_text()) if what != "json"}
    assert found == {("selftest.py", "report"), ("console.py", "visible"), ("__init__.py", "visible_lines")}

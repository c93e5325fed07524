"""What is kept of an error in the log of the home, and the line that says so."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from crypto_assets.config import error_log
from crypto_assets.config.error_log import keep_traceback, last_line
from crypto_assets.errors import ConfigError, CryptoAssetsError, NothingCollected, PostgresUnavailable, Stopped
from crypto_assets.machine.error_words import is_explained
from crypto_assets_tests.machine.test_error_words import raised


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("error", "cause", "explained"),
    [
        (ConfigError("a"), ValueError("b"), True),
        (NothingCollected("a"), None, True),
        (Stopped("a"), OSError("b"), True),
        (PostgresUnavailable("a"), None, True),
        (PostgresUnavailable("a"), OSError("b"), False),
        (CryptoAssetsError("a"), KeyError("b"), False),
        (KeyError("a"), None, False),
    ],
)
def test_a_traceback_is_kept_where_the_line_does_not_say_all(
    home: Path, error: BaseException, cause: BaseException | None, explained: bool
) -> None:
    caught = raised(error, cause)
    assert is_explained(caught) is explained
    line = last_line(caught)
    assert line.endswith(f"; its traceback is in {home / 'errors.log'}") is not explained
    assert (home / "errors.log").exists() is not explained


def test_a_mistake_that_may_be_ours_keeps_its_traceback_though_it_is_said_to_be_one_of_the_configuration(
    home: Path,
) -> None:
    error = ConfigError("the file is wrong, or we are")
    error.explained = False
    assert not is_explained(raised(error, AttributeError("b")))
    assert not is_explained(raised(error, None)) or raised(error).__cause__ is None


def test_the_log_is_private_without_passwords_and_cut(home: Path) -> None:
    error = raised(ValueError(f"postgresql://u:hunter2@h/d {'x' * 1000}\x1b[31m"))
    log = keep_traceback(error)
    assert log == home / "errors.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text()
    assert "ValueError" in text
    assert "hunter2" not in text
    assert "\x1b" not in text
    assert "characters)" in text
    assert max(map(len, text.splitlines())) < 500


def test_the_log_before_is_kept_once_it_is_large(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_log, "_MOST_BYTES", 10)
    for number in range(3):
        keep_traceback(raised(ValueError(f"number {number}")))
    assert "number 2" in (home / "errors.log").read_text()
    assert "number 1" in (home / "errors.log.old").read_text()
    assert {path.name for path in home.iterdir()} == {"errors.log", "errors.log.old"}


def test_without_a_home_the_line_is_said_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path / "none"))
    assert last_line(raised(KeyError("a"))) == "unexpected KeyError: 'a'; please report it"
    assert not (tmp_path / "none").exists()

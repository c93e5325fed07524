"""What commands make in a home is for its owner alone, whatever the umask and whoever made the home."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from crypto_assets.config.environment import settings
from crypto_assets.config.home_folders import make_home
from crypto_assets.errors import ConfigError
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.demo import demo_environment
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.command import PROJECT
from crypto_assets_tests.project import entry, make

DAY = date(2024, 1, 1)

_WITH_UMASK = """
import os, sys
os.umask(int(sys.argv[1]))
os.execv(sys.executable, [sys.executable, "-m", "crypto_assets", *sys.argv[2:]])
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (DAY, DAY)}})) as server:
        yield server


@pytest.fixture
def restored_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.lstat().st_mode))


def wrong(top: Path, folders: int, files: int) -> list[str]:
    """Return what has another mode than it should have."""
    found = [(path, oct(folders if path.is_dir() else files)) for path in (top, *top.rglob("*"))]
    return [f"{path}: {mode(path)}, not {right}" for path, right in found if mode(path) != right]


@pytest.mark.parametrize(("umask", "lake"), [(0o000, "in the home"), (0o777, "elsewhere")])
def test_a_home_that_was_there_keeps_its_mode_and_what_is_made_in_it_is_private(
    sandbox: SandboxServer,
    tmp_path: Path,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    umask: int,
    lake: str,
) -> None:
    place = tmp_path / "others" / "lake" if lake == "elsewhere" else tmp_path / "home" / "lake"
    if lake == "elsewhere":
        monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(place))
    project = make(sandbox, tmp_path / "home", postgres_url, monkeypatch, entry(["ohlcv_1h"], ["BTC/USDT"], DAY))
    project.home.chmod(0o755)
    there = set(project.home.iterdir())
    variables = project.command.variables | {"CRYPTO_ASSETS_LAKE_URL": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", _WITH_UMASK, str(umask), "collect", "--from", str(DAY), "--to", str(DAY)],
        env=variables,
        cwd=PROJECT,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert mode(project.home) == oct(0o755)
    made = set(project.home.iterdir()) - there
    assert {path.name for path in made} == {"dagster", *(["lake"] if lake == "in the home" else [])}
    assert {mode(path) for path in made} == {oct(0o700)}
    assert any(path.is_file() for path in (project.home / "dagster").rglob("*")), "the logs of the run"
    assert wrong(project.home / "dagster", 0o700, 0o600) == []
    assert list(place.rglob("*.parquet"))
    if lake == "elsewhere":
        assert wrong(place.parent, 0o755, 0o644) == []
    else:
        assert [line for child in place.iterdir() for line in wrong(child, 0o755, 0o644)] == []


@pytest.mark.usefixtures("restored_umask")
def test_the_home_of_a_demo_and_the_folders_above_it_are_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path / "new" / "home"))
    os.umask(0)
    with demo_environment() as home:
        assert home == settings().home == tmp_path / "new" / "home" / "demo"
        assert wrong(tmp_path / "new", 0o700, 0o600) == []
    old = tmp_path / "old"
    (old / "demo").mkdir(mode=0o755, parents=True)
    old.chmod(0o755)
    (old / "demo").chmod(0o755)
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(old))
    with demo_environment():
        assert (mode(old), mode(old / "demo")) == (oct(0o755), oct(0o700))


def test_a_link_in_the_place_of_a_folder_of_ours_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="dagster: expected a folder, found a link or a file; remove it"):
        make_home(tmp_path / "home")

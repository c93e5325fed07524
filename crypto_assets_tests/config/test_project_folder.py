"""Which folder is the project: the nearest one, going up, that is the user's own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto_assets.config.dagster_home import use_dagster_home
from crypto_assets.config.environment import DEMO_MARK, at_home, require_file, settings, settings_at_start
from crypto_assets.config.project_folder import project_folder
from crypto_assets.errors import ConfigError

THEIRS = 12345
"""The id of another user."""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CRYPTO_ASSETS_"):
            monkeypatch.delenv(name)


def project(folder: Path, *names: str) -> Path:
    """Make a folder a project with some of its parts."""
    for name in names or (".crypto_assets", "collection.yaml", "dagster.yaml"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).mkdir() if name.startswith(".") else (folder / name).write_text("")
    return folder


def give(path: Path) -> None:
    """Let a file or folder belong to another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of another user")
    os.chown(path, THEIRS, -1, follow_symlinks=False)


@pytest.mark.parametrize("names", [(".crypto_assets",), ("collection.yaml",), ()])
def test_the_nearest_project_above_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    project(tmp_path / "outer")
    found = project(tmp_path / "outer" / "inner", *names)
    below = found / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    now = settings()
    assert (now.home, now.config) == (found / ".crypto_assets", found / "collection.yaml")
    assert now.home_in_words == f"home {found / '.crypto_assets'}, found above {below}"
    assert now.project_lines == [
        f"project {found}, found above {below}: home {found / '.crypto_assets'}, collection {found / 'collection.yaml'}"
    ]


def test_without_a_project_the_working_directory_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    now = settings()
    assert (now.home, now.config, now.project_lines) == (tmp_path / ".crypto_assets", tmp_path / "collection.yaml", [])
    assert now.home_in_words == f"home {tmp_path / '.crypto_assets'}, in the working directory"


def test_the_environment_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = project(tmp_path / "project")
    (found / "a").mkdir()
    monkeypatch.chdir(found / "a")
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path / "home"))
    now = settings()
    assert (now.home, now.config) == (tmp_path / "home", found / "collection.yaml")
    assert now.home_in_words == f"home {tmp_path / 'home'}, CRYPTO_ASSETS_HOME"
    assert now.project_lines == [f"project {found}, found above {found / 'a'}: collection {found / 'collection.yaml'}"]
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path / "other.yaml"))
    assert (settings().config, settings().project_lines) == (tmp_path / "other.yaml", [])


def test_the_collection_beside_the_home_goes_before_the_project_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, other = project(tmp_path / "named"), project(tmp_path / "other")
    (other / "a").mkdir()
    monkeypatch.chdir(other / "a")
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(named / ".crypto_assets"))
    by_variable = settings()
    assert (by_variable.home, by_variable.config) == (named / ".crypto_assets", named / "collection.yaml")
    assert by_variable.project_lines == []
    monkeypatch.delenv("CRYPTO_ASSETS_HOME")
    with at_home(named / ".crypto_assets"):
        assert settings().config == by_variable.config, "the argument has the same order"
    demo = project(named / ".crypto_assets" / "demo", "collection.yaml")
    (demo / DEMO_MARK).touch()
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(demo))
    assert (settings().config, settings().project_lines) == (demo / "collection.yaml", [])


@pytest.fixture
def deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that was deleted."""
    folder = tmp_path / "deleted"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PWD", str(folder))
    folder.rmdir()
    return folder


@pytest.mark.parametrize("name", [None, "CRYPTO_ASSETS_CONFIG", "CRYPTO_ASSETS_HOME", "DAGSTER_HOME"])
def test_a_deleted_working_directory_is_one_sentence(
    deleted: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    if name is not None:
        monkeypatch.setenv(name, "relative")
    with pytest.raises(ConfigError, match="working directory") as caught:
        use_dagster_home() if name == "DAGSTER_HOME" else settings()
    assert "\n" not in str(caught.value)
    assert name == "CRYPTO_ASSETS_HOME" or str(deleted) in str(caught.value)


@pytest.mark.usefixtures("deleted")
def test_what_variables_or_arguments_name_is_used_without_a_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = project(tmp_path / "named")
    with at_home(named / ".crypto_assets"):
        assert (settings_at_start().config, settings().project_lines) == (named / "collection.yaml", [])
    (named / "collection.yaml").unlink()
    with at_home(named / ".crypto_assets"):
        assert (settings_at_start().config, settings().project_lines) == (named / "collection.yaml", [])
    monkeypatch.setenv("DAGSTER_HOME", str(named))
    assert use_dagster_home() == named


@pytest.fixture
def as_other_user() -> Iterator[Path]:
    """A folder of another user, with this process acting as that user."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as name:
        give(Path(name))
        os.seteuid(THEIRS)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


def test_a_folder_that_cannot_be_entered_is_skipped(as_other_user: Path) -> None:
    outer = project(as_other_user / "outer")
    closed = project(outer / "closed")
    (closed / "a").mkdir()
    closed.chmod(0)
    assert project_folder(closed).path == outer
    assert project_folder(closed / "a").path == outer


def test_a_working_directory_that_cannot_be_entered_is_one_sentence(as_other_user: Path) -> None:
    closed = as_other_user / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(
        ConfigError, match=f"^working directory {closed}: expected a folder that can be entered, .*; go to "
    ):
        project_folder(closed)
    with pytest.raises(ConfigError, match=f"^{closed}/collection.yaml: cannot be read: a folder above it cannot be"):
        require_file(closed / "collection.yaml")


@pytest.mark.parametrize("theirs", [".crypto_assets", "collection.yaml", "dagster.yaml"])
def test_what_another_user_has_put_above_is_passed_over_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str
) -> None:
    found = project(tmp_path / "mine")
    between = project(found / "between")
    give(between / theirs)
    (between / "a").mkdir()
    monkeypatch.chdir(between / "a")
    assert settings().home == found / ".crypto_assets"
    line, _ = settings().project_lines
    assert line == (
        f"{between / theirs} belongs to the user with the id {THEIRS} and is not used; "
        f"CRYPTO_ASSETS_HOME={between / '.crypto_assets'} and CRYPTO_ASSETS_CONFIG={between / 'collection.yaml'} use it"
    )


def test_a_link_is_as_good_as_what_it_leads_to(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    folder = project(tmp_path / "project", "collection.yaml")
    (folder / ".crypto_assets").symlink_to(disk)
    (folder / "a").mkdir()
    assert project_folder(folder / "a").path == folder
    give(disk)
    assert project_folder(folder / "a").path == folder / "a"
    (folder / ".crypto_assets").unlink()
    (folder / ".crypto_assets").symlink_to(tmp_path)
    os.chown(folder / ".crypto_assets", THEIRS, -1, follow_symlinks=False)
    assert project_folder(folder / "a").path == folder / "a", "somebody else's link to a folder of mine"


def test_a_home_of_another_user_in_the_working_directory_is_said(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    give(folder / ".crypto_assets")
    assert project_folder(folder).how == f"in the working directory, of the user with the id {THEIRS}"


def test_a_home_is_no_project_itself(tmp_path: Path) -> None:
    home = project(tmp_path / "project") / ".crypto_assets"
    project(home / "demo", "collection.yaml")
    assert project_folder(home / "demo").path == tmp_path / "project"


def test_a_given_home_has_the_collection_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = project(tmp_path / "mine"), project(tmp_path / "other")
    monkeypatch.chdir(mine)
    with at_home(other / ".crypto_assets"):
        assert settings().config == other / "collection.yaml"
        assert settings().home_in_words == f"home {other / '.crypto_assets'}, the argument home"
    (other / "collection.yaml").unlink()
    with at_home(str(other / ".crypto_assets")):
        assert settings().config == mine / "collection.yaml"
    assert settings().home == mine / ".crypto_assets"


def test_the_home_of_the_demo_brings_its_collection_and_its_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = project(tmp_path / "mine")
    demo = project(mine / ".crypto_assets" / "demo", "collection.yaml")
    (demo / DEMO_MARK).touch()
    monkeypatch.chdir(mine)
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(tmp_path / "real"))
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", "postgresql://me@db.example/real")
    with at_home(demo):
        now = settings()
        assert (now.config, now.lake, now.postgres_url) == (demo / "collection.yaml", str(demo / "lake"), None)
    assert settings().lake == str(tmp_path / "real")


@pytest.mark.parametrize("home", ["nowhere", 5, "s3://bucket"])
def test_a_home_that_cannot_be_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: object) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^home: expected ") as caught, at_home(home):  # type: ignore[arg-type]
        pass
    assert "\n" not in str(caught.value)

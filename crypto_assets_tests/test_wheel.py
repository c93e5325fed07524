"""The wheel has all of the package and nothing else; `python -m proofs.release` installs it and collects with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from crypto_assets.config.project import FILES
from crypto_assets_tests.command import PROJECT


def _kept(folder: Path) -> set[str]:
    """Return the files of the package in a folder, without what Python and editors leave behind."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {
        path.as_posix() for path in found if "__pycache__" not in path.parts and not path.name.endswith((".swp", "~"))
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs. It is built from a copy: setuptools takes old files out of `build/`."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    shutil.copytree(PROJECT / "crypto_assets", source / "crypto_assets", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(out), str(source)], check=True, cwd=out, capture_output=True)
    (wheel,) = out.glob("crypto_assets-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def test_the_wheel_has_every_file_of_the_package(installed: Path) -> None:
    assert _kept(installed / "crypto_assets") == _kept(PROJECT / "crypto_assets")
    assert {path.name.split("-")[0] for path in installed.iterdir()} == {"crypto_assets"}


def test_what_the_wheel_installs_makes_a_project_far_from_the_repository(installed: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-m", "crypto_assets", "init", "my-data"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(FILES) <= {path.name for path in (tmp_path / "my-data").iterdir()}
    where = "import crypto_assets; print(crypto_assets.__file__)"
    found = subprocess.check_output([sys.executable, "-c", where], cwd=tmp_path, env=environment, text=True)
    assert Path(found.strip()).is_relative_to(installed)

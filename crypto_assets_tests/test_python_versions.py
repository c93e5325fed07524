"""The releases of Python that we name are the same everywhere: metadata, tools, CI, image, docs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from crypto_assets_tests.command import PROJECT

ABOUT: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())
SUPPORTED = [
    match[1]
    for line in ABOUT["project"]["classifiers"]
    if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
]
LOWEST, HIGHEST = SUPPORTED[0], SUPPORTED[-1]


def text(path: str) -> str:
    return (PROJECT / path).read_text(encoding="utf-8")


def test_the_releases_follow_each_other_and_this_is_one_of_them() -> None:
    minors = [int(release.removeprefix("3.")) for release in SUPPORTED]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert len(minors) == 3
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in SUPPORTED


def test_the_lowest_is_what_pip_requires_and_what_the_tools_check_against() -> None:
    assert ABOUT["project"]["requires-python"] == f">={LOWEST}"
    assert ABOUT["tool"]["mypy"]["python_version"] == LOWEST
    assert ABOUT["tool"]["ruff"]["target-version"] == f"py{LOWEST.replace('.', '')}"
    makefile = text("Makefile")
    assert f"--python-version {LOWEST} " in makefile
    assert f"({LOWEST.replace('.', ', ')}) and" in makefile
    assert f"needs Python {LOWEST} or newer" in makefile


def test_ci_looks_for_all_of_them() -> None:
    found = re.search(r"^for release in (.+); do$", text(".ci/run"), re.MULTILINE)
    assert found
    assert found[1].split() == SUPPORTED


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/install.md"])
def test_the_docs_name_the_lowest_or_all(page: str) -> None:
    named = set(re.findall(r"Python (3\.\d+)", text(page)))
    assert named
    assert named <= set(SUPPORTED)
    assert f"Python {LOWEST}" in text(page)


def test_the_image_has_the_highest() -> None:
    assert set(re.findall(r"^FROM python:(3\.\d+)-", text("Dockerfile"), re.MULTILINE)) == {HIGHEST}


def test_ci_takes_only_a_python_that_prints_this_release(tmp_path: Path) -> None:
    """A program of that name that only ends with 0 is none; without HOME and PYENV_ROOT the search goes on."""
    function = re.search(r"^find_python\(\) \{.*?^\}", text(".ci/run"), re.MULTILINE | re.DOTALL)
    assert function
    good, other = "3.11", "3.13"
    for release, prints in ((good, good), (other, "")):
        program = tmp_path / f"python{release}"
        program.write_text(f"#!/bin/bash\necho {prints}\n")
        program.chmod(0o755)
    script = f"set -euo pipefail\n{function[0]}\nfind_python {good}\nfind_python {other}\n"
    found = subprocess.run(["/bin/bash", "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, f"{tmp_path / f'python{good}'}\n")
    assert "no working python3.13 here" in found.stderr

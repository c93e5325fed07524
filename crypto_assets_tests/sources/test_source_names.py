"""Only `sources/` and the sandbox know exchanges by name; elsewhere a name is an example for people."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import crypto_assets
from crypto_assets import sources
from crypto_assets.model import MARKET_TYPES

ROOT = Path(crypto_assets.__file__).parent
EXCHANGES = [one for one in sources.names() if any(sources.get(one).dataset_names(kind) for kind in MARKET_TYPES)]
NAME = re.compile("|".join(EXCHANGES), re.IGNORECASE)

# In help, in descriptions of fields and columns, and in the answers that show what to send.
EXAMPLE = re.compile(r"`\w+`|\{\"exchange\": \"\w+\"\}|--exchange \w+|(?:the ccxt id|as ccxt names it): \w+")


def named(text: str) -> Iterator[str]:
    """Return the identifiers and texts of a module that name an exchange; not its docstrings and comments."""
    tree = ast.parse(text)
    docs = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    for node in ast.walk(tree):
        words = [getattr(node, name, None) for name in ("id", "attr", "arg", "name", "module")]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            words = [EXAMPLE.sub("", node.value)]
        yield from (one for one in words if isinstance(one, str) and NAME.search(one))


def test_no_code_outside_the_sources_names_an_exchange() -> None:
    assert len(EXCHANGES) > 3
    modules = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ("sources", "sandbox")]
    assert len(modules) > 200
    found = {str(path.relative_to(ROOT)): [*named(path.read_text(encoding="utf-8"))] for path in modules}
    assert {path: words for path, words in found.items() if words} == {}


def test_a_field_and_a_text_with_the_name_of_an_exchange_are_found() -> None:
    module = '"""Binance."""\nkraken_key: str\nSECRETS = ("OKX_API_KEY", "Such as `okx`.")\nif name == "bybit": ...\n'
    assert sorted(named(module)) == ["OKX_API_KEY", "bybit", "kraken_key"]

"""collection.yaml out of bounds: refused with one line and at once, whatever it holds, and without its passwords."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import yaml

from crypto_assets.config.collection import load_collection
from crypto_assets.config.entry import MOST_SYMBOLS
from crypto_assets.config.yaml_file import load_yaml
from crypto_assets.errors import ConfigError
from crypto_assets.text.urls import host_of, http_url

ENTRY = "series:\n- {exchange: binance, market_type: spot, datasets: [trades], start: 2024-01-01, symbols: "


def refusal(tmp_path: Path, text: str | bytes) -> str:
    """Return the message about a file; it must come at once and have one line."""
    path = tmp_path / "collection.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    begun = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load_collection(path)
    assert time.monotonic() - begun < 10
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 1_000
    message.encode()  # it can be printed
    return message.removeprefix(f"{path}: ")


def aliases(levels: int, value: str = "BTC/USDT") -> str:
    """10^levels values in some lines."""
    lines = [f"a0: &a0 [{', '.join([value] * 10)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


MERGES = "\n".join(f"b{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 20))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{aliases(10)}\n{ENTRY}*a9}}\n", "expected at most 200000 values, found 1111111, each as often as aliases"),
        (f"a: &a0 {{x: 1}}\n{MERGES}", "expected at most 200000 values"),
        ("a: &a [*a]", "expected no alias (*) inside of what it names"),
        ("a: &a {b: {c: *a}}", "expected no alias (*) inside of what it names"),
        ("series: " + "[" * 100_000, "expected at most 20 nested lists and mappings"),
        ("series: " + "[" * 5_000 + "]" * 5_000, "expected at most 20 nested lists and mappings"),
        ("\n".join(" " * n + "a:" for n in range(500)), "expected at most 20 nested lists and mappings"),
        ("- " * 5_000 + "a", "expected at most 20 nested lists and mappings"),
        ("{a: " * 5_000, "expected at most 20 nested lists and mappings"),
        ("x" * (2 << 20), "expected at most 1048576 bytes, found more"),
        (f"{ENTRY}[{'B' * 5_000}/USDT]}}", "expected texts of at most 1000 letters, found 5005"),
        (f"{ENTRY}[{'B' * 500}/USDT]}}", "expected a symbol of at most 64 letters, found 505: 'BBBBBBBBBBBBBBBBBBBB'…"),
        ("series: " + ":".join(["1"] * 20_000), "expected texts of at most 1000 letters"),  # a number to the base of 60
        ("series: 0x" + "f" * 100_000, "expected texts of at most 1000 letters"),
        ("series: " + "9" * 900, "series: Input should be a valid list"),
        (f"{ENTRY}[{', '.join(f'A{n}/USDT' for n in range(MOST_SYMBOLS + 1))}]}}", "List should have at most 10000 items"),
        (f"{ENTRY}[{', '.join(['A/USDT'] * MOST_SYMBOLS)}]}}", "symbols: A/USDT is listed twice here"),
        ("? [a]\n: b", "found unhashable key"),
        ('"\\ud800": 1\nseries: []', None),
        ('"a\\e]0;x\\a": 1\nseries: [x]', None),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a: \x00", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_file_out_of_bounds_is_refused_at_once_with_one_line(tmp_path, text, says):
    message = None
    if says is None:
        path = tmp_path / "collection.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_collection(path)
        str(caught.value).encode()
        assert "\x1b" not in str(caught.value)
        assert "\x07" not in str(caught.value)
    else:
        message = refusal(tmp_path, text)
        assert says in message


def test_many_wrong_symbols_are_some_lines(tmp_path):
    path = tmp_path / "collection.yaml"
    path.write_text(f"{ENTRY}[{', '.join(map(str, range(5_000)))}]}}")
    with pytest.raises(ConfigError) as caught:
        load_collection(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == f"{path}: and 4990 more problems"


def test_as_many_symbols_as_can_be_are_read(tmp_path):
    path = tmp_path / "collection.yaml"
    path.write_text(f"{ENTRY}[{', '.join(f'A{n}/USDT' for n in range(MOST_SYMBOLS))}]}}")
    assert len(load_collection(path).series[0].symbols) == MOST_SYMBOLS


def test_aliases_that_say_little_stay_possible(tmp_path):
    assert load_yaml("a: &a [1, 2]\nb: *a\nc: {<<: &d {x: 1}, y: *a}\ne: *d") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"x": 1, "y": [1, 2]},
        "e": {"x": 1},
    }


@pytest.mark.parametrize(
    "url",
    [
        "http://me:PLANTED@data.example",
        "https://PLANTED@data.example/x",
        "http://me:PLANTED/x@data.example",
        "http://me:PLANTED x@data.example",
        "http://me:PLANTED@@data.example",
        "ftp://me:PLANTED@data.example",
        "me:PLANTED@data.example",
        "http://me:PLANTED@[::1",
        "http://me:PLANTED@data.example:port/?a#b",
    ],
)
@pytest.mark.parametrize("name", ["archive_url", "listing_url", "rest_url"])
def test_a_url_with_a_password_is_refused_by_name_and_not_shown(tmp_path, url, name):
    text = f"exchanges: {{binance: {{{name}: '{url}'}}}}\n{ENTRY}[BTC/USDT]}}"
    message = refusal(tmp_path, text)
    assert message.startswith(f"exchanges.binance.{name}: expected a URL without user and password")
    assert "PLANTED" not in message


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://data.example/a/b", "data.example"),
        ("https://Data.Example:8443", "data.example:8443"),
        ("http://me:pw@data.example:80/x", "data.example:80"),
        ("http://[::1]:9000/x", "[::1]:9000"),
    ],
)
def test_a_host_is_shown_as_host_and_port(url, host):
    assert host_of(url) == host


def test_a_url_without_a_password_is_as_before():
    assert http_url("http://127.0.0.1:9000/a%40b/") == "http://127.0.0.1:9000/a%40b"


def test_odd_files_end_in_a_collection_or_a_line():
    """What PyYAML's own words are made of, in any order: never another error than one of ours."""
    chance = random.Random(7)
    pieces = [
        *("a", "series", ":", ": ", "\n", "\n  ", "- ", "[", "]", "{", "}", ",", "&x ", "*x", "!!binary ", "!!set "),
        *("<<: ", "? ", "|\n", ">\n", '"', "'", "#", "1:1:1", "0x1f", "2024-13-01", "1e999", ".nan", "~", "%YAML 1.1\n"),
        *("---\n", "...\n", "\t", "\u2028", "!!python/object/apply:os.system ", "!!int ", "!!timestamp ", "@", "`", "\ud800"),
    ]  # fmt: skip
    others = []
    for _ in range(3_000):
        text = "".join(chance.choices(pieces, k=chance.randrange(1, 25)))
        try:
            load_yaml(text)
        except (yaml.YAMLError, ValueError):
            pass
        except Exception as error:
            others.append((text, error))
    assert others == []

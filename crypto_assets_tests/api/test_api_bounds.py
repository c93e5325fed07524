"""The API under malformed requests: each gets an answer that names the error, and none is a 500."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import uvicorn
import yaml

from crypto_assets.api import bounds
from crypto_assets.api.app import create_app
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.project import entry
from crypto_assets_tests.waiting import wait_for

REQUESTS = 2_000
POSTS = ("/v1/pause", "/v1/resume", "/v1/runs/x/cancel", "/v1/gaps/acknowledge", "/v1/gaps/withdraw")
GETS = (
    *(
        "/healthz",
        "/v1",
        "/v1/status",
        "/v1/gaps",
        "/v1/incidents",
        "/v1/partitions",
        "/v1/objects",
        "/v1/runs",
        "/v1/runs/x",
    ),
    *(
        "/v1/breakers",
        "/v1/limits",
        "/v1/corrections",
        "/v1/quality",
        "/v1/delays",
        "/v1/pauses",
        "/v1/acknowledgements",
    ),
    *("/", "/v2", "/v1/../healthz", "//v1"),
)
PARAMETERS = (
    *("exchange", "market_type", "symbol", "dataset", "limit", "offset", "from", "to", "state", "kind", "prefix", "by"),
    *("below", "trend", "withdrawn", "x", ""),
)
DAYS = ("2024-01-01", "2024-01-03", "0001-01-01", "9999-12-31", "9999-12-30", "2024-13-01", "20240101", "2024-W01-1")
MORE_LIKELY = {
    **dict.fromkeys(("from", "to"), DAYS),
    "exchange": ("binance",),
    "market_type": ("spot", "linear"),
    "limit": ("1", "10000"),
    "offset": ("0", "1", str(2**62), str(2**63)),
    "by": ("symbol", "day", "month", "series", "dataset"),
    "below": ("0", "1", "0.5", "1e-400"),
    "trend": ("true", "false"),
    "withdrawn": ("true", "false"),
    "state": ("available", "missing", "running", "succeeded"),
}
FIELDS = ("scope", "exchange", "run", "reason", "who", "market_type", "symbol", "dataset", "from", "to", "x")
VALUES = (
    *(
        "",
        "0",
        "1",
        "-1",
        "10000",
        "9" * 5_000,
        "٣",
        "1e400",
        "nan",
        "-inf",
        "true",
        "false",
        "all",
        "run:",
        "exchange:x",
    ),
    *("binance", "spot", "BTC/USDT", "ohlcv_1m", "available", "symbol", "day", "month", "a" * 5_000),
    *(
        "\0",
        "a\0b",
        "\x1b]0;x\x07",
        "%",
        "%s",
        "%(x)s",
        "' OR 1=1 --",
        "{}",
        "../../etc/passwd",
        "\r\nX: y",
        "\u202e",
        "💥",
        "\ud800",
    ),
)


@pytest.fixture(scope="module")
def address(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    migrate(module_postgres_url)
    folder = tmp_path_factory.mktemp("api")
    content = {"series": [{**entry(["ohlcv_1m"], ["BTC/USDT"], date(2024, 1, 1)), "end": date(2024, 1, 3)}]}
    (folder / "collection.yaml").write_text(yaml.safe_dump(content))
    with serving(module_postgres_url, folder) as found:
        yield found


class serving:  # noqa: N801
    """The API as `serve` runs it, on a port of loopback."""

    def __init__(self, postgres: str, folder: Path) -> None:
        app = create_app(postgres, folder / "collection.yaml", str(folder / "lake"))
        self._bound = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, http=bounds.Impatient, log_level="critical"))
        self._thread = threading.Thread(target=self._server.run, args=([self._bound],), daemon=True)

    def __enter__(self) -> tuple[str, int]:
        self._thread.start()
        wait_for("the server", lambda: self._server.started)
        return "127.0.0.1", self._bound.getsockname()[1]

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return status and body of an answer; 0 if the connection ended without one."""
    came = b""
    while chunk := connection.recv(1 << 20):
        came += chunk
    head, _, body = came.partition(b"\r\n\r\n")
    return (int(head.split()[1]), body) if head.startswith(b"HTTP/") else (0, came)


def ask(address: tuple[str, int], request: bytes, timeout_s: float = 30) -> tuple[int, bytes]:
    with socket.create_connection(address, timeout_s) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # answered before all of it was sent
            connection.sendall(request)
        try:
            return answer(connection)
        except ConnectionResetError:
            return 0, b""


def request(method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
    given = {"Host": "127.0.0.1", "Connection": "close", "Content-Type": "application/json"}
    given |= {"Content-Length": str(len(body))} if body or method == "POST" else {}
    lines = [f"{name}: {value}" for name, value in {**given, **headers}.items()]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode() + body


def quoted(chance: random.Random, text: str) -> str:
    raw = text.encode("utf-8", "surrogatepass")
    return "".join(chr(b) if b < 128 and chr(b).isalnum() and chance.random() < 0.9 else f"%{b:02X}" for b in raw)


def odd_value(chance: random.Random, name: str) -> str:
    return chance.choice(MORE_LIKELY[name] if name in MORE_LIKELY and chance.random() < 0.7 else VALUES)


def odd_json(chance: random.Random) -> bytes:
    """Return a body: an object of odd texts, or something else."""
    kind = chance.randrange(10)
    if kind < 6:
        found = {name: odd_value(chance, name) for name in chance.choices(FIELDS, k=chance.randrange(5))}
        return json.dumps(found, ensure_ascii=kind < 3 or "\ud800" in found.values()).encode()
    depth = chance.choice((5, 500, 5_000, 30_000))
    return [
        b"[" * depth + b"]" * (depth if depth % 2 else 0),
        b'{"scope":' * (depth // 10) + b"1" + b"}" * (depth // 10),
        chance.choice(
            (b'"\\ud800"', b'{"\\ud800": "x"}', b'{"who": "\\u0000"}', b"1" * 5_000, b"NaN", b"\xff\xfe", b"{")
        ),
        json.dumps([chance.choice(VALUES), {"who": [None, 1.5]}]).encode(),
    ][kind - 6]


def odd_request(chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        return request("POST", chance.choice(POSTS), odd_json(chance))
    path = chance.choice(GETS)
    if chance.random() < 0.2:
        path += "/" + quoted(chance, chance.choice(VALUES))
    pairs = [
        f"{name}={quoted(chance, odd_value(chance, name))}"
        for name in chance.choices(PARAMETERS, k=chance.choice((0, 1, 1, 2, 4)))
    ]
    return request(chance.choice(("GET", "GET", "HEAD", "PUT")), path + ("?" + "&".join(pairs) if pairs else ""))


def test_two_thousand_odd_requests_have_no_answer_of_500(address: tuple[str, int]) -> None:
    chance = random.Random(20_261_128)
    statuses: Counter[int] = Counter()
    each_alone = [
        request("GET", f"{path}?{name}={quoted(chance, value)}")
        for path in GETS
        for name, values in MORE_LIKELY.items()
        for value in values
    ]
    for number, asked in enumerate([*each_alone, *(odd_request(chance) for _ in range(REQUESTS))]):
        status, body = ask(address, asked)
        assert status not in (0, 500), (number, asked[:300], body[:300])
        if status >= 400 and not asked.startswith(b"HEAD"):
            assert set(json.loads(body)) == {"error", "expected", "found", "what_to_do"}, body
            assert len(body) < 5_000
        statuses[status] += 1
    assert {200, 400, 404, 405} <= set(statuses), statuses
    assert statuses[200] > 200, statuses


@pytest.mark.parametrize("told", [True, False], ids=["told", "in chunks"])
def test_a_body_that_is_too_large_is_not_read(address: tuple[str, int], told: bool) -> None:
    head = request("POST", "/v1/pause", **{"Content-Length": "600000000"} if told else {"Transfer-Encoding": "chunked"})
    if not told:
        head = head.replace(b"Content-Length: 0\r\n", b"")
    with socket.create_connection(address, 30) as connection:
        connection.sendall(head)
        sent = 0
        try:
            while not told and sent < 50_000_000:
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                sent += 65_536
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert sent < 50_000_000
        try:
            status, body = answer(connection)
        except ConnectionResetError:
            assert not told
            return
    assert status == 413, body
    assert json.loads(body)["expected"] == "a body of at most 65536 bytes"


def test_a_body_as_large_as_can_be_is_read(address: tuple[str, int]) -> None:
    body = json.dumps({"scope": "none", "reason": "x" * 60_000}).encode()
    status, said = ask(address, request("POST", "/v1/pause", body))
    assert (status, json.loads(said)["error"]) == (400, "unknown scope")


def test_half_requests_end_and_others_are_answered_meanwhile(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "REQUEST_S", 0.5)
    halves = [
        b"",
        b"GET /healthz HT",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
        request("POST", "/v1/pause", b"{" * 50)[:-10],
    ]
    opened = [socket.create_connection(address, 30) for _ in halves * 10]
    for number, connection in enumerate(opened):
        connection.sendall(halves[number % len(halves)])
    begun = time.monotonic()
    assert ask(address, request("GET", "/healthz"))[0] == 200
    found = [answer(connection)[0] for connection in opened]
    assert time.monotonic() - begun < 10
    assert found[: len(halves)] == [0, 0, 0, 408]
    assert found == found[: len(halves)] * 10
    for connection in opened:
        connection.close()


def test_a_request_that_comes_in_drops_ends_too(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "REQUEST_S", 0.5)
    with socket.create_connection(address, 30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        ended = False
        for _ in range(100):
            try:
                connection.sendall(b"X: y\r\n")
            except (ConnectionResetError, BrokenPipeError):
                ended = True
                break
            time.sleep(0.05)
        assert ended


def test_a_connection_is_kept_for_the_next_request(address: tuple[str, int]) -> None:
    with socket.create_connection(address, 30) as connection:
        for _ in range(3):
            connection.sendall(request("GET", "/v1/pauses", Connection="keep-alive"))
            came = b""
            while b'"items"' not in came:
                came += connection.recv(65_536)
            assert came.startswith(b"HTTP/1.1 200")

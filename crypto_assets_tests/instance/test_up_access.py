"""Access to the processes of `crypto-assets up`: web pages, other users of the machine, other umasks."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from starlette.requests import Request

from crypto_assets.instance.webserver import _asks_by_address
from crypto_assets_tests.command import Command
from crypto_assets_tests.instance.test_up import COLLECTION, Up
from crypto_assets_tests.storage.other_user import as_stranger, needs_root
from crypto_assets_tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")

DELETE = 'mutation { deletePipelineRun(runId: "x") { __typename } }'
VERSION = "{ version }"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, module_postgres_url: str) -> Iterator[Up]:
    """`up`, started without a umask."""
    folder = tmp_path_factory.mktemp("access")
    config = folder / "collection.yaml"
    config.write_text(yaml.safe_dump(COLLECTION))
    command = Command.at(folder / "home", module_postgres_url, CRYPTO_ASSETS_CONFIG=str(config))
    before = os.umask(0)
    try:
        with Up(command) as running:
            yield running.ready()
    finally:
        os.umask(before)


@pytest.fixture(scope="module")
def client(up: Up) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=up.url, trust_env=False, timeout=30) as opened:
        yield opened


def workspace_of(up: Up) -> Path:
    return up.home / "workspace.yaml"


def test_the_first_page_is_the_catalog(client: httpx.Client) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/assets")
    assert "<html" in client.get("/assets").text
    assert client.get("/overview").status_code == 200


# ---- web pages ------------------------------------------------------------------------------------------------------


def test_a_program_may_ask_and_change_by_post(client: httpx.Client) -> None:
    answer = client.post("/graphql", json={"query": VERSION})
    assert answer.status_code == 200
    assert answer.json()["data"]["version"]
    changed = client.post("/graphql", json={"query": DELETE})
    assert changed.json()["data"]["deletePipelineRun"]["__typename"] == "RunNotFoundError"


def test_the_page_that_it_has_given_out_may_ask_under_each_of_its_names(up: Up, client: httpx.Client) -> None:
    port = up.url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}"):
        own = {"host": host, "origin": f"http://{host}"}
        assert client.post("/graphql", json={"query": VERSION}, headers=own).status_code == 200
        assert "<html" in client.get("/runs", headers=own).text


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"host": "evil.example"}, "foreign Host"),
        ({"host": "127.0.0.1.evil.example:3000"}, "foreign Host"),
        ({"host": "[::1"}, "foreign Host"),
        ({"host": "user@127.0.0.1"}, "foreign Host"),
        ({"host": "evil@localhost:1"}, "foreign Host"),
        ({"host": "127.0.0.1/x"}, "foreign Host"),
        ({"host": "127.0.0.1:"}, "foreign Host"),
        ({"origin": "http://evil.example"}, "foreign Origin"),
        ({"origin": "http://localhost:8000"}, "foreign Origin"),
        ({"origin": "http://127.0.0.1"}, "foreign Origin"),
        ({"origin": "null"}, "foreign Origin"),
    ],
)
@pytest.mark.parametrize("path", ["/graphql", "/server_info", "/", "/report_asset_materialization/a"])
def test_a_foreign_page_gets_nothing_and_changes_nothing(
    client: httpx.Client, headers: dict[str, str], error: str, path: str
) -> None:
    for answer in (client.get(path, headers=headers), client.post(path, json={"query": DELETE}, headers=headers)):
        assert (answer.status_code, answer.json()["error"]) == (403, error)


@pytest.mark.parametrize("query", [DELETE, VERSION])
@pytest.mark.parametrize("path", ["/graphql", "/graphql/"])
@pytest.mark.parametrize("accept", ["*/*", "image/avif,image/webp,*/*", "application/json", ""])
def test_nothing_is_asked_or_changed_by_an_address_as_images_have_them(
    client: httpx.Client, path: str, query: str, accept: str
) -> None:
    answer = client.get(path, params={"query": query}, headers={"accept": accept})
    assert (answer.status_code, answer.json()["error"]) == (405, "GraphQL by address")


def test_the_path_is_that_of_the_request_whatever_its_host_says() -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/graphql",
        "headers": [(b"host", b"127.0.0.1:3000/x?")],
        "query_string": b"",
    }
    assert _asks_by_address(Request(scope))


def test_the_address_in_a_browser_shows_the_page_of_graphql_and_runs_nothing(client: httpx.Client) -> None:
    answer = client.get("/graphql", params={"query": DELETE}, headers={"accept": "text/html"})
    assert answer.headers["content-type"].startswith("text/html")
    assert "RunNotFoundError" not in answer.text


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "application/x-www-form-urlencoded",
            "text/plain",
            "multipart/form-data; boundary=b",
            "application/graphql",
            "",
        ),
        *("text/plain; application/json", "application/jsonp", "application/json+x"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_what_a_form_can_send_is_refused(client: httpx.Client, kind: str, method: str) -> None:
    content = json.dumps({"query": DELETE})
    for path in ("/graphql", f"/graphql?query={DELETE}", "/report_asset_materialization/a"):
        answer = client.request(method, path, content=content, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]) == (415, "not JSON")


def subscribe(url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Return the first message of a subscription's server, asked as the UI's own client does."""
    from websockets.sync.client import connect

    with connect(
        f"{url.replace('http', 'ws', 1)}/graphql",
        additional_headers={name: value for name, value in headers.items() if name != "origin"},
        origin=headers.get("origin"),  # type: ignore[arg-type]
        subprotocols=["graphql-ws"],  # type: ignore[list-item]
        proxy=None,
        open_timeout=30,
    ) as opened:
        opened.send(json.dumps({"type": "connection_init"}))
        found: dict[str, Any] = json.loads(opened.recv(timeout=30))
        return found


def test_subscriptions_work_for_its_own_page_and_for_programs(up: Up) -> None:
    for headers in ({}, {"origin": up.url}):
        assert subscribe(up.url, headers) == {"type": "connection_ack"}


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:8000", "null"])
def test_a_websocket_from_a_foreign_page_is_refused_before_it_opens(up: Up, origin: str) -> None:
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as caught:
        subscribe(up.url, {"origin": origin})
    assert caught.value.response.status_code == 403


# ---- a browser ------------------------------------------------------------------------------------------------------

CHANGE = "mutation { setAutoMaterializePaused(paused: false) }"
ATTACK = """<!doctype html><title>attack</title><script>
const url = "%(url)s/graphql", query = %(query)s, body = JSON.stringify({query});
async function tell(name, trial) {
  let text;
  try { text = "read: " + await trial(); } catch (error) { text = "refused"; }
  document.body.insertAdjacentHTML("beforeend", `<p id="${name}">${text}</p>`);
}
addEventListener("load", async () => {
  const kinds = {"plain": "text/plain", "form": "application/x-www-form-urlencoded", "json": "application/json"};
  await tell("get", async () => (await fetch(url + "?query=" + encodeURIComponent(query))).text());
  await tell("blind", async () => { await fetch(url + "?query=" + encodeURIComponent(query), {mode: "no-cors"}); throw 0; });
  for (const [name, kind] of Object.entries(kinds))
    await tell(name, async () => (await fetch(url, {method: "POST", headers: {"content-type": kind}, body})).text());
  await tell("blindpost", async () => { await fetch(url, {method: "POST", mode: "no-cors", body}); throw 0; });
  await tell("image", () => new Promise((yes, no) => {
    const image = new Image(); image.onload = () => yes("image"); image.onerror = no;
    image.src = url + "?query=" + encodeURIComponent(query); }));
  await tell("socket", () => new Promise((yes, no) => {
    const opened = new WebSocket(url.replace("http", "ws"), "graphql-ws");
    opened.onopen = () => yes("open"); opened.onerror = no; }));
  await tell("done", async () => "done");
});
</script><body><form id="f" method="post" enctype="text/plain" target="frame" action="%(url)s/graphql"></form>
<iframe name="frame"></iframe><script>document.getElementById("f").submit()</script>"""


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """A page of a browser for which evil.example has just become 127.0.0.1."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    from crypto_assets_tests.defs.test_ui import SWITCHES, chromium

    with playwright.sync_playwright() as running:
        path = chromium()
        if path is None and not Path(running.chromium.executable_path).exists():
            pytest.skip("no Chromium: install one, or run `playwright install chromium`")
        # The browser's own protection of loopback is off: other browsers do not have it.
        guard = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
        rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
        opened = running.chromium.launch(executable_path=path, args=[*SWITCHES, guard, rules])
        yield opened.new_page()
        opened.close()


@pytest.mark.browser
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_of_another_site_in_a_real_browser_neither_reads_nor_changes(
    up: Up, client: httpx.Client, page: Any, tmp_path: Path, host: str
) -> None:
    (tmp_path / "index.html").write_text(ATTACK % {"url": up.url, "query": json.dumps(CHANGE)})
    with serving_folder(tmp_path) as port:
        page.goto(f"http://{host}:{port}/index.html")
        page.locator("#done").wait_for(state="attached")
        names = ("get", "blind", "plain", "form", "json", "blindpost", "image", "socket")
        assert {name: page.locator(f"#{name}").inner_text() for name in names} == dict.fromkeys(names, "refused")
    state = client.post("/graphql", json={"query": "{ instance { autoMaterializePaused } }"}).json()
    assert state["data"] == {"instance": {"autoMaterializePaused": True}}


@pytest.mark.browser
def test_a_page_whose_name_was_bound_to_this_machine_anew_gets_nothing_but_a_refusal(up: Up, page: Any) -> None:
    port = up.url.rpartition(":")[2]
    for path in ("/", "/runs", "/graphql", "/server_info"):
        answer = page.goto(f"http://evil.example:{port}{path}")
        assert answer.status == 403
        assert "foreign Host" in page.content()
    assert page.goto(f"{up.url}/server_info").status == 200


@contextmanager
def serving_folder(folder: Path) -> Iterator[int]:
    """Serve a folder's files on a port of this machine, as another site."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


# ---- other users ----------------------------------------------------------------------------------------------------


def test_the_ui_and_the_api_are_all_that_listens_on_a_port(up: Up) -> None:
    inodes = set()
    for pid in up.children():
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
            except OSError:
                continue  # closed meanwhile
    listening = {
        int(line.split()[1].rpartition(":")[2], 16)
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[9] in inodes
    }
    assert listening == {int(httpx.URL(url).port or 0) for url in (up.url, up.api)}


def test_the_code_server_is_reached_by_its_owner(up: Up) -> None:
    (server,) = yaml.safe_load(workspace_of(up).read_text())["load_from"]
    assert set(server["grpc_server"]) == {"socket", "location_name"}
    place = Path(server["grpc_server"]["socket"])
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as tried:
        tried.connect(str(place))


@needs_root
def test_another_user_reaches_neither_the_code_server_nor_the_files(up: Up) -> None:
    place = yaml.safe_load(workspace_of(up).read_text())["load_from"][0]["grpc_server"]["socket"]
    # Folders around the home do not matter here: everybody may walk through them.
    opened = [parent for parent in up.home.parents if parent.stat().st_uid == 0 and str(parent) not in ("/", "/tmp")]
    before = {parent: stat.S_IMODE(parent.stat().st_mode) for parent in opened}
    for parent in opened:
        parent.chmod(0o755)
    try:
        tried = as_stranger(
            "import socket\nfor what in (lambda: socket.socket(socket.AF_UNIX).connect(sys.argv[1]),"
            " lambda: open(sys.argv[2]), lambda: os.listdir(sys.argv[3]), lambda: os.listdir(sys.argv[3] + '/logs')):\n"
            "    try:\n        what()\n    except PermissionError:\n        print('refused')\n    else:\n        print('IN')",
            *(place, str(workspace_of(up)), str(up.home)),
        )
    finally:
        for parent, mode in before.items():
            parent.chmod(mode)
    assert tried.stdout.split() == ["refused"] * 4, tried


ASK = """
owner = sys.argv[1].split(",")
for url in sys.argv[2:]:
    host, _, path = url.removeprefix("http://").partition("/")
    for method, headers in (
        ("GET", {}), ("POST", {"Content-Type": "application/json"}), ("GET", {"X-Forwarded-For": owner[0]}),
        ("GET", {"X-Forwarded-For": owner[1]}), ("GET", {"Forwarded": "for=" + owner[1]}),
        ("GET", {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}),
    ):
        asked = http.client.HTTPConnection(host, timeout=30)
        asked.request(method, "/" + path, body="{}" if method == "POST" else None, headers=headers)
        answer = asked.getresponse()
        body = answer.read()
        print(answer.status, json.loads(body)["error"] if body.startswith(b"{") else "")
"""


@needs_root
def test_another_user_gets_nothing_of_ui_and_api_whatever_his_headers_say(up: Up) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(up.url).port or 0)) as own:
        names = "127.0.0.1", f"127.0.0.1:{own.getsockname()[1]}"
        tried = as_stranger(ASK, ",".join(names), f"{up.url}/graphql", f"{up.url}/runs", f"{up.api}/status")
    answers = tried.stdout.splitlines()
    assert len(answers) == 3 * 6, tried
    assert set(answers) <= {"403 another user", "403 "}, tried


LEAVE = """
import socket
host, port = sys.argv[1].rsplit(":", 1)
body = json.dumps({"scope": "all", "reason": "by a stranger"})
for _ in range(100):
    with socket.create_connection((host, int(port))) as asked:
        asked.sendall((f"POST /v1/pause HTTP/1.1\\r\\nHost: {sys.argv[1]}\\r\\nContent-Type: application/json\\r\\n"
                       f"Content-Length: {len(body)}\\r\\n\\r\\n{body}").encode())
print("left")
"""


@needs_root
def test_another_user_who_does_not_wait_for_the_answer_changes_nothing(up: Up, client: httpx.Client) -> None:
    host = up.api.removeprefix("http://").partition("/")[0]
    tried = as_stranger(LEAVE, host)
    assert tried.stdout == "left\n", tried
    assert httpx.get(f"{up.api}/pauses", trust_env=False, timeout=30).json() == {"items": []}


def test_homes_logs_and_workspace_are_for_their_owner_alone_whatever_the_umask(up: Up) -> None:
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in (up.home, *up.home.iterdir())}
    assert modes["home"] == "0o700"
    assert modes["logs"] == modes["sockets"] == "0o700"
    assert modes["workspace.yaml"] == modes["up.lock"] == "0o600"
    logs = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in (up.home / "logs").iterdir()}
    assert logs == dict.fromkeys(("api.log", "code-server.log", "daemon.log", "webserver.log"), "0o600")


def test_healthz_knows_the_parts_and_says_which_one_is_silent(up: Up) -> None:
    def health() -> tuple[int, dict[str, Any]]:
        answer = httpx.get(up.api.replace("/v1", "/healthz"), trust_env=False, timeout=60)
        return answer.status_code, answer.json()

    wait_for("a heartbeat", lambda: health()[1]["daemon"]["heartbeat"])
    status, found = health()
    assert (status, found["ok"]) == (200, True)
    assert {found[name] for name in ("postgres", "lake", "up", "code_server")} == {"answers"}
    assert 0 <= found["daemon"]["age_s"] < 300
    (server,) = [pid for pid, line in up.children().items() if "crypto_assets.instance.code_server" in line]
    os.kill(server, signal.SIGSTOP)
    try:
        status, found = health()
    finally:
        os.kill(server, signal.SIGCONT)
    assert (status, found["ok"], found["code_server"], found["postgres"]) == (503, False, "does not answer", "answers")
    wait_for("it is healthy again", lambda: health()[0] == 200)


def test_a_code_server_that_was_killed_listens_at_the_same_place_again(up: Up, module_postgres_url: str) -> None:
    def server() -> list[int]:
        return [pid for pid, line in up.children().items() if "crypto_assets.instance.code_server" in line]

    (former,) = server()
    os.kill(former, 9)

    def loaded() -> bool:
        question = (
            "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"
        )
        found = httpx.post(f"{up.url}/graphql", json={"query": question}, trust_env=False, timeout=30).json()
        entries = found["data"]["workspaceOrError"]["locationEntries"]
        return [entry["locationOrLoadError"]["__typename"] for entry in entries] == ["RepositoryLocation"]

    wait_for("another code server", lambda: server() not in ([], [former]))
    place = yaml.safe_load(workspace_of(up).read_text())["load_from"][0]["grpc_server"]["socket"]

    def listens() -> bool:
        with socket.socket(socket.AF_UNIX) as tried:
            return tried.connect_ex(place) == 0

    wait_for("it listens", listens)
    wait_for("the UI has loaded it", loaded)
    with psycopg.connect(module_postgres_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)

"""The OpenAPI document and its page: complete, true to the tables, and without other hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import openapi_spec_validator
import psycopg
import pytest
from pydantic import TypeAdapter

from crypto_assets.ledger.corrections import CorrectionRecord
from crypto_assets.ledger.incidents import IncidentRecord
from crypto_assets.ledger.objects import ObjectRecord
from crypto_assets.ledger.partitions import PartitionRow
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.api.described import ROUTES
from crypto_assets_tests.api.served import refused, serving
from crypto_assets_tests.command import PROJECT
from crypto_assets_tests.ports import free_port


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An API without a running database: neither the document nor the page needs it."""
    folder = tmp_path_factory.mktemp("openapi")
    with serving(f"postgresql://u@127.0.0.1:{free_port()}/d", folder / "collection.yaml") as made:
        yield made


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_is_an_openapi_document(document) -> None:
    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1")


def test_the_document_has_the_paths_that_the_docs_and_the_index_name(client, document) -> None:
    text = (PROJECT / "docs" / "reference" / "http.md").read_text()
    told = {
        path for line in re.findall(r"^\| `.*?` \|", text, re.MULTILINE) for path in re.findall(r"`([GP].*?)`", line)
    }
    assert {name.replace("{run_id}", "{id}") for name in operations(document)} == told
    assert client.get("/v1").json()["paths"] == list(operations(document))


def test_the_docs_say_which_path_takes_which_parameter(document) -> None:
    text = (PROJECT / "docs" / "reference" / "http.md").read_text()
    told, names = {}, set()
    for line in re.findall(r"^\| `/v1/.*", text, re.MULTILINE):
        paths, tracks, *others = line.strip("|").split("|")
        names = names if "the same" in tracks else set(re.findall("`(.*?)`", tracks))
        for path in re.findall("`(.*?)`", paths):
            told[path] = names | set(re.findall("`(.*?)`", "".join(others)))
    taken = {
        path: {one["name"] for one in methods["get"]["parameters"] if one["in"] == "query"}
        for path, methods in document["paths"].items()
        if "parameters" in methods.get("get", {})
    }
    assert {path: found for path, found in taken.items() if found} == told


def test_every_path_parameter_and_field_of_a_body_says_what_it_is(document) -> None:
    for name, operation in operations(document).items():
        assert operation["description"].endswith("."), name
        fields = {one["name"]: one for one in operation.get("parameters", ())}
        if "requestBody" in operation:
            fields |= operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
        assert all(len(field.get("description", "")) > 3 for field in fields.values()), (name, fields)
        assert "422" not in operation["responses"], "errors have texts of ours"
        assert operation["responses"]["4XX"]["content"]["application/json"]["schema"]["$ref"].endswith("/Error")


def test_bounds_and_words_of_parameters_are_in_the_document(document) -> None:
    of = {one["name"]: one["schema"] for one in operations(document)["GET /v1/quality"]["parameters"]}
    assert (of["limit"]["minimum"], of["limit"]["maximum"], of["limit"]["default"]) == (1, 10_000, 1_000)
    assert (of["below"]["minimum"], of["below"]["maximum"]) == (0, 1)
    assert of["by"]["enum"] == ["partition", "symbol", "series", "exchange"]
    assert of["from"] == of["from"] | {"type": "string", "format": "date"}
    assert of["symbol"] == of["symbol"] | {"type": "array", "items": {"type": "string"}}
    body = operations(document)["POST /v1/gaps/acknowledge"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["exchange", "market_type", "symbol", "dataset", "from"]


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: set[str] = set()
        self.references: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.ids.add(values.get("id") or "")
        self.references |= {str(values[name]) for name in ("href", "src", "action") if name in values}


def test_the_page_has_every_path_and_record_and_asks_no_other_host(client, document) -> None:
    answer = client.get("/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = _Page(answer.text)
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert not re.search(r"https?://|//|@import|url\(", re.sub("<code>.*?</code>", "", answer.text))
    assert page.references - {"openapi.json"} <= {f"#{name}" for name in page.ids}
    assert {operation["operationId"] for operation in operations(document).values()} <= page.ids
    assert set(document["components"]["schemas"]) <= page.ids
    assert "Such as <code>binance</code>" in answer.text


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_page_and_the_document_are_guarded_as_every_answer(client, path) -> None:
    assert refused(client.get(path, headers={"host": "evil.example"}), 403)["error"] == "foreign Host"
    wrong = refused(client.post(path, json={}), 405)
    assert (wrong["found"], wrong["expected"]) == ("POST", "GET, HEAD")


def test_head_is_answered_as_get_without_a_body(client) -> None:
    for path in ("/v1", "/docs", "/openapi.json"):
        head, whole = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.content)) != "0"


INTERNAL = {"judged_by"}
"""Columns that no answer has: they are of use only to the checks."""


@pytest.mark.parametrize(
    ("table", "model"),
    [
        ("partitions", PartitionRow),
        ("incidents", IncidentRecord),
        ("archive_objects", ObjectRecord),
        ("corrections", CorrectionRecord),
    ],
)
def test_a_row_of_a_table_has_the_columns_of_that_table(table: str, model: type[Any], module_postgres_url: str) -> None:
    migrate(module_postgres_url)
    with psycopg.connect(module_postgres_url) as connection:
        columns = connection.execute(
            "SELECT column_name, is_nullable = 'YES' FROM information_schema.columns "
            "WHERE table_schema = 'collection' AND table_name = %s",
            (table,),
        ).fetchall()
    types = TypeAdapter(model).json_schema()["properties"]
    found = {name: {"type": "null"} in types[name].get("anyOf", ()) for name in types}
    assert found == {name: null for name, null in columns if name not in INTERNAL}


def test_nothing_is_told_to_a_collector_of_telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    # FastAPI itself would try to export, and refuses to start if it cannot.
    with serving(f"postgresql://u@127.0.0.1:{free_port()}/d", tmp_path / "collection.yaml") as client:
        assert client.get("/v1").status_code == 200


def test_every_answer_has_a_model() -> None:
    assert [route.path for route in ROUTES if route.response_model is None] == ["/docs"]


# ---- paths and methods that are not in it ---------------------------------------------------------------------------


def test_an_unknown_path_is_answered_in_the_four_texts_without_a_redirection(client: httpx.Client) -> None:
    for path in ("/v1/status/", "/v1/", "/healthz/", "/v1/runs/x/y"):
        assert refused(client.get(path), 404)["found"] == path


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS"])
def test_a_method_that_a_path_does_not_have_is_405_whatever_is_sent(client: httpx.Client, method: str) -> None:
    for kind in ("application/json", "text/plain"):
        found = refused(client.request(method, "/v1/status", headers={"content-type": kind}), 405)
        assert (found["expected"], found["found"]) == ("GET, HEAD", method)
    assert refused(client.request(method, "/v1/status"), 405)["found"] == method

"""Every block of the docs is run, in the order of its page, or says why not.

The tutorial is followed first, in an empty folder. The other pages are followed in the project that it leaves, each in a
shell of its own. `test_readme.py` runs the blocks of the README.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from crypto_assets.config.collection import parse_collection
from crypto_assets.storage.embedded_postgres import delete_server
from crypto_assets_tests.command import PROJECT
from crypto_assets_tests.docs.blocks import (
    KINDS,
    PAGES,
    Block,
    blocks_of,
    commands_of,
    script,
    statements_of,
    unprinted,
)
from crypto_assets_tests.ports import free_port

DOCS = PROJECT / "docs"
TUTORIAL = DOCS / "tutorial.md"
FOLLOWED = [page for page in PAGES if page != TUTORIAL and any(block.is_run for block in blocks_of(page))]


@dataclass
class Reader:
    """Somebody who pastes the blocks of pages; `stands_for` replaces addresses that only examples have."""

    folder: Path
    stands_for: dict[str, str] = field(default_factory=dict)
    groups: list[int] = field(default_factory=list)

    @property
    def project(self) -> Path:
        return self.folder / "my-data"

    @property
    def variables(self) -> Mapping[str, str]:
        ours = ("CRYPTO_ASSETS_", "AWS_", "DAGSTER_")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | {"COLUMNS": "200", "PATH": path}

    def follow(self, page: Path, at: Path) -> str:
        """Run the blocks of a page in a folder; return what they print."""
        blocks = blocks_of(page)
        work = Path(tempfile.mkdtemp(dir=self.folder))
        text = script(blocks, work)
        for file in [*work.iterdir(), work / "page.sh"]:
            content = text if file.name == "page.sh" else file.read_text()
            for example, real in self.stands_for.items():
                content = content.replace(example, real)
            file.write_text(content)
        with (work / "printed").open("w+") as printed:
            # A group of its own: what a page leaves running in the background is ended with it.
            process = subprocess.Popen(
                ["/bin/bash", str(work / "page.sh")],
                cwd=at,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.groups.append(process.pid)
            code = process.wait(timeout=280)
            printed.seek(0)
            said = printed.read()
        assert code == 0, said
        assert "Traceback" not in said, said
        assert unprinted(blocks, said) == [], said
        return said


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """A reader who has followed the tutorial."""
    folder = Path(tempfile.mkdtemp(prefix="crypto_assets_tests-"))
    folder.chmod(0o711)
    made = Reader(folder, {"8765": str(free_port()), "3001": str(free_port())})
    try:
        made.follow(TUTORIAL, folder)
        yield made
    finally:
        for group in made.groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)
        delete_server(made.project / ".crypto_assets")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def servers(reader: Reader, postgres_server_url: str, module_postgres_url: str) -> Iterator[None]:
    """A bucket and a database where the examples have theirs."""
    bucket = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    bucket.start()
    try:
        url = f"http://127.0.0.1:{bucket.get_host_and_port()[1]}"
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "eu-central-1"}
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(
            Bucket="my-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        reader.stands_for["http://127.0.0.1:9000"] = url
        reader.stands_for["postgresql://collector:secret@db.example.com:5432/market"] = module_postgres_url
        yield
    finally:
        bucket.stop()


def test_the_tutorial_leads_to_a_chart(reader: Reader) -> None:
    assert (reader.project / "chart.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("page", FOLLOWED, ids=[str(page.relative_to(PROJECT)) for page in FOLLOWED])
@pytest.mark.usefixtures("servers")
def test_the_blocks_of_a_page_run_in_their_order(reader: Reader, page: Path) -> None:
    if "\ncurl " in page.read_text(encoding="utf-8") and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    reader.follow(page, reader.project)


# ---- no block is left out --------------------------------------------------------------------------------------------

BLOCKS = [block for page in PAGES for block in blocks_of(page)]


@pytest.mark.parametrize("block", BLOCKS, ids=[block.place for block in BLOCKS])
def test_a_block_is_of_a_kind_that_is_run_or_says_why_not(block: Block) -> None:
    assert block.kind in KINDS, "the language of a block; `text` for what is printed"
    if "not run" in block.marks:
        assert len(block.marks["not run"]) > 15, "a reason"
    elif test := block.marks.get("run by"):
        path = block.place.partition(":")[0]
        assert Path(path).name in (PROJECT / test).read_text(encoding="utf-8"), "the test names the page"
    elif block.kind == "text":
        assert block.title is None
    elif block.kind == "yaml":
        content = yaml.safe_load(block.text)
        entries = {"series": [{"exchange": "binance", "market_type": "spot", "datasets": ["trades"]}]}
        entries["series"][0] |= {"symbols": ["BTC/USDT"], "start": "2024-01-01"}
        parse_collection(entries | content, block.place)
    elif block.kind == "json":
        json.loads(block.text)
    elif block.kind == "bash":
        assert list(commands_of(block.text))
    elif block.kind == "sql":
        assert statements_of(block.text)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(PROJECT)) for page in PAGES])
def test_no_block_hides_in_an_indented_paragraph(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    inside = False
    for before, line in zip(["", *lines], lines, strict=False):
        inside ^= line.lstrip().startswith("```")
        assert inside or before.strip() or not re.match(" {4}(?! *(```|<!--|- ))", line), line


def test_a_mark_is_read_with_its_block(tmp_path: Path) -> None:
    page = PROJECT / "docs" / "tutorial.md"
    (collect,) = [block for block in blocks_of(page) if block.text.startswith("crypto-assets collect")]
    assert collect.marks == {"exit code": "1"}
    assert "crypto-assets collect --from 2024-01-01 --to 2024-01-07\n__check $? 1 " in script([collect], tmp_path)
    assert list(commands_of("a  # one\n# two\nb \\\n  c\n")) == ["a", "b \\\n  c"]
    assert unprinted([Block("p:1", "text", None, "1 of … days\nnever said", {"output": ""})], "x\n1  of 31 days\n") == [
        "p:1: never said"
    ]


@pytest.mark.parametrize("page", [*PAGES, PROJECT / "README.md"], ids=lambda page: page.name)
def test_an_empty_line_follows_each_block(page: Path) -> None:
    """Text right after a closing fence was most likely meant to be in the block."""
    is_open, after = False, []
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            is_open = not is_open
            if not is_open and "".join(lines[number + 1 : number + 2]).strip():
                after.append(f"{page.name}:{number + 2}")
    assert after == []

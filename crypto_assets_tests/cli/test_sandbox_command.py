"""The sandbox as a command: it explains itself, serves the files of a folder, and refuses one that is missing."""

from __future__ import annotations

import os
import re
import select
import signal
from datetime import date
from pathlib import Path

import httpx

from crypto_assets_tests.cli.test_cli import FIRST, key_of
from crypto_assets_tests.command import Command, no_traceback


def test_the_sandbox_explains_itself(tmp_path: Path) -> None:
    answer = Command.at(tmp_path)("sandbox", "--help")
    assert answer.code == 0
    assert "--folder" in answer.out
    assert "serve the files below this folder" in " ".join(answer.out.split())


def test_the_sandbox_serves_the_files_of_a_folder_until_ctrl_c(tmp_path: Path) -> None:
    of = key_of(FIRST)
    (tmp_path / of).parent.mkdir(parents=True)
    (tmp_path / of).write_bytes(b"as it stands")
    process = Command.at(tmp_path / "home").start("sandbox", "--folder", str(tmp_path))
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 30)[0]
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert found is not None
        with httpx.Client(base_url=found.group(), trust_env=False, timeout=30) as client:
            assert client.get(f"/{of}").content == b"as it stands"
            assert of in client.get("/listing", params={"prefix": "data/spot/"}).text
            assert client.get(f"/{key_of(date(2024, 1, 2))}").status_code == 404
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    assert "Traceback" not in out + err
    assert process.returncode == 0


def test_the_sandbox_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    answer = Command.at(tmp_path)("sandbox", "--folder", str(tmp_path / "none"))
    assert answer.code == 2
    assert f"{tmp_path / 'none'}: expected a folder of archive files" in answer.message
    assert no_traceback(answer)

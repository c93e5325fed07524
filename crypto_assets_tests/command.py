"""The real command line, as a process of its own that sees nothing of our environment but what a test gives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crypto_assets_tests.warm_process import run_process

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Answer:
    """What a command printed, its exit code, and how long it took."""

    code: int
    out: str
    err: str
    took_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def message(self) -> str:
        """The one error message; blanks and line ends as single blanks."""
        assert self.err.count("rror:") == 1, self.err
        return " ".join(self.err.split())


@dataclass
class Command:
    """`crypto-assets` with a home, a collection and a database of its own."""

    home: Path
    environment: dict[str, str]

    @classmethod
    def at(cls, home: Path, postgres_url: str | None = None, **environment: str) -> Command:
        given = {"DAGSTER_HOME": str(PROJECT), "CRYPTO_ASSETS_HOME": str(home)}
        given["CRYPTO_ASSETS_CONFIG"] = str(home / "collection.yaml")
        if postgres_url:
            given["CRYPTO_ASSETS_POSTGRES_URL"] = postgres_url
        return cls(home, given | environment)

    def configure(self, content: Any) -> None:
        """Write collection.yaml: a mapping, or any text."""
        self.home.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        (self.home / "collection.yaml").write_text(text)

    @property
    def variables(self) -> dict[str, str]:
        """The whole environment of the process."""
        ours = ("CRYPTO_ASSETS_", "AWS_", "DAGSTER_")
        return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | {"COLUMNS": "200"} | self.environment

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "crypto_assets", *arguments],
            env=self.variables,
            cwd=PROJECT,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *arguments: str, timeout_s: float = 120) -> Answer:
        started = time.monotonic()
        done = run_process(arguments, self.variables, PROJECT, timeout_s)
        return Answer(done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    def python(
        self, code: str, *arguments: str, timeout_s: float = 120, folder: Path = PROJECT
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code in a process like that of a command."""
        return run_process(arguments, self.variables, folder, timeout_s, code)

    def sequence(self, *commands: str, timeout_s: float = 240, folder: Path = PROJECT) -> list[Answer]:
        """Run commands one after another in one process, which imports Dagster once only and works in `folder`."""
        started = time.monotonic()
        done = self.python(_SEQUENCE, *commands, timeout_s=timeout_s, folder=folder)
        assert done.returncode == 0, done.stderr
        answers = []
        outs, errs = done.stdout.split("\0"), done.stderr.split("\0")
        for number in range(len(commands)):
            out, (code, _, err) = outs[number], errs[number].partition("\n")
            answers.append(Answer(int(code), out, err, time.monotonic() - started))
        return answers


# After each command a zero byte in both streams; the errors of a command come after its exit code.
_SEQUENCE = """
import contextlib, io, sys
from crypto_assets import cli
for line in sys.argv[1:]:
    sys.argv = ["crypto-assets", *line.split()]
    errors, code = io.StringIO(), 0
    with contextlib.redirect_stderr(errors):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
    sys.stdout.write("\\0")
    sys.stderr.write(f"{code}\\n{errors.getvalue()}\\0")
"""


def no_traceback(answer: Answer) -> bool:
    return "Traceback" not in answer.out + answer.err and 'File "' not in answer.out + answer.err

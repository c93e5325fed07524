"""Read a Dockerfile: the instructions that ours uses, and no others."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

WORDS = (
    *("WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE"),
    *("STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: its word, its flags such as `--from=build`, and the rest of it."""

    word: str
    rest: str
    flags: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The rest as words; a JSON list is taken as such."""
        if self.rest.startswith("["):
            return [str(word) for word in json.loads(self.rest)]
        return shlex.split(self.rest)


@dataclass(frozen=True, slots=True)
class Stage:
    """The steps from one FROM to the next."""

    base: str
    name: str
    steps: tuple[Step, ...]

    def last(self, word: str) -> Step:
        """Return the instruction that counts where a later one replaces those before."""
        return [step for step in self.steps if step.word == word][-1]

    def variables(self) -> dict[str, str]:
        """Return what ENV sets."""
        pairs = (pair.partition("=") for step in self.steps if step.word == "ENV" for pair in step.words)
        return {name: value for name, _, value in pairs}


def read_dockerfile(file: Path) -> list[Stage]:
    """Return the stages of a Dockerfile.

    Raises:
        ValueError: an instruction or a form that this reader does not know.
    """
    stages: list[tuple[str, str, list[Step]]] = []
    for line in _lines(file.read_text(encoding="utf-8")):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append((base.strip(), name.strip(), []))
            continue
        if word not in WORDS or not stages:
            raise ValueError(f"{file.name}: expected one of FROM, {', '.join(WORDS)}, found {line!r}")
        stages[-1][2].append(_step(word, rest.strip()))
    return [Stage(base, name, tuple(steps)) for base, name, steps in stages]


def _step(word: str, rest: str) -> Step:
    flags = {}
    while match := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
        flags[match[1]] = match[2]
        rest = rest[match.end() :]
    if word == "HEALTHCHECK":
        rest = rest.removeprefix("CMD ")
    if word in ("COPY", "RUN") and (set(flags) - {"from"} or rest.startswith(("[", "<<"))):
        raise ValueError(f"{word} {rest!r}: this form is not known here")
    return Step(word, rest, flags)


def _lines(text: str) -> Iterator[str]:
    """Yield instructions without comments, each in one line."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(kept)).splitlines():
        if line.strip():
            yield line.strip()

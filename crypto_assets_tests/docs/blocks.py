"""The fenced blocks of the docs, and the shell script that runs those of a page in their order.

A block is run, or a comment on the lines above it says why not:

    <!-- not run: it needs Docker -->
    <!-- run by: crypto_assets_tests/test_readme.py -->     another test runs it; alone at the top of a page: all its blocks
    <!-- exit code: 1 -->                                  of its last command; the others must end with 0
    <!-- output -->                                        each line of a text block is printed by the blocks before it;
                                                           `…` stands for any text
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crypto_assets_tests.command import PROJECT

PAGES = sorted([PROJECT / "SECURITY.md", *(PROJECT / "docs").rglob("*.md")])

KINDS = {"bash", "python", "sql", "yaml", "json", "text"}

_FENCE = re.compile(r"^( *)```(\w*)(?: title=\"([\w./-]+)\")?$")
_MARK = re.compile(r"^ *<!-- (not run|run by|exit code|output)(?:: (.+))? -->$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `marks` are the comments right above it, `place` is the page and line of its fence."""

    place: str
    kind: str
    title: str | None
    text: str
    marks: dict[str, str]

    @property
    def is_run(self) -> bool:
        return self.kind != "text" and not {"not run", "run by"} & set(self.marks)


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page.

    Raises:
        ValueError: a fence that is not closed.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    found, marks, everywhere = [], {}, {}
    numbered = iter(enumerate(lines, 1))
    for number, line in numbered:
        if mark := _MARK.match(line):
            marks[mark[1]] = mark[2] or ""
        elif fence := _FENCE.match(line):
            place = f"{page.relative_to(PROJECT)}:{number}"
            text = list(_until_closed(numbered, fence[1], place))
            found.append(Block(place, fence[2], fence[3], "\n".join(text), everywhere | marks))
            marks = {}
        elif line.strip() == "" and "run by" in marks:
            everywhere = {"run by": marks["run by"]}  # alone, with an empty line after it: of the whole page
            marks = {}
        elif marks and line.strip():
            raise ValueError(f"{page.name}:{number}: a mark without a block below it")
    return found


def _until_closed(lines: Iterator[tuple[int, str]], indent: str, place: str) -> Iterator[str]:
    for _, line in lines:
        if line == f"{indent}```":
            return
        yield line.removeprefix(indent)
    raise ValueError(f"{place}: the block is not closed")


def script(blocks: Sequence[Block], folder: Path) -> str:
    """Return a bash script that runs blocks in one shell; `folder` takes its files.

    Python blocks with nothing else between them are one program. A block with a title is written to that file first.
    """
    parts = [_CHECK]
    for number, block in enumerate(_joined([one for one in blocks if one.is_run])):
        file = folder / f"{number}.{block.kind}"
        file.write_text(block.text + "\n")
        expected = block.marks.get("exit code", "0")
        if block.title:
            parts.append(f"cp {file} {shlex.quote(block.title)}")
        elif block.kind == "bash":
            commands = list(commands_of(block.text))
            for command in commands:
                parts += _checked(command, expected if command is commands[-1] else "0", block.place)
        elif block.kind == "python":
            parts += _checked(f"python {file}", expected, block.place)
        elif block.kind == "sql":
            for statement in statements_of(block.text):
                parts += _checked(f"crypto-assets sql {shlex.quote(statement)}", expected, block.place)
    return "\n".join(parts) + "\n"


def _joined(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks with Python that follows Python added to it."""
    joined: list[Block] = []
    for block in blocks:
        if joined and block.title is None and joined[-1].title is None and {block.kind, joined[-1].kind} == {"python"}:
            before = joined.pop()
            joined.append(replace(before, text=f"{before.text}\n{block.text}"))
        else:
            joined.append(block)
    return joined


_CHECK = """\
__check() {
    [ "$1" -eq "$2" ] || { echo "$3: expected exit code $2, found $1" >&2; exit 70; }
}
"""


def _checked(command: str, expected: str, place: str) -> list[str]:
    lines = [command, f"__check $? {expected} {shlex.quote(f'{place}: {command}')}"]
    if port := re.search(r"crypto-assets (?:sandbox|api) .*--port (\d+).*&$", command):
        lines.append(f"until (exec 3<>/dev/tcp/127.0.0.1/{port[1]}) 2>/dev/null; do sleep 0.1; done")
    return lines


def commands_of(text: str) -> Iterator[str]:
    """Yield the command lines of a shell block, without comments; a line that ends with a backslash continues."""
    command = ""
    for line in text.splitlines():
        plain = re.sub(r"(^|\s+)# .*$", "", line).rstrip()
        if plain:
            command += f"\n{plain}" if command else plain
        if command and not command.endswith("\\"):
            yield command
            command = ""


def statements_of(text: str) -> list[str]:
    """Return the statements of a block of SQL, without comments."""
    plain = re.sub(r"--.*$", "", text, flags=re.MULTILINE)
    return [" ".join(one.split()) for one in plain.split(";") if one.strip()]


def unprinted(blocks: Sequence[Block], printed: str) -> list[str]:
    """Return the lines of the blocks marked as output that were not printed."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    expected = [
        (f"{block.place}: {line}", ".*".join(re.escape(part) for part in " ".join(line.split()).split("…")))
        for block in blocks
        if "output" in block.marks
        for line in block.text.splitlines()
        if line.strip()
    ]
    return [said for said, pattern in expected if not any(re.fullmatch(pattern, line) for line in lines)]

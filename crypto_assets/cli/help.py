"""Layout of the help: commands in sections, uncut lines, examples and exit codes at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

EXIT_CODES = (
    ("0", "every requested day is complete, or explained as no data"),
    ("1", "something is missing or partial, or the exchange does not know a symbol"),
    ("2", "wrong arguments or configuration; nothing was done"),
)

_MOST_COLUMNS = 100

_EVERYWHERE = ("--demo", "--debug")
"""Switches that may stand after a command's name too."""


class Help(click.Command):
    """A command whose help ends with examples.

    Args:
        examples: pairs of a command line without `crypto-assets` and its description.
    """

    def __init__(self, *arguments: Any, examples: tuple[tuple[str, str], ...] = (), **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)


class Sections(click.Group):
    """The group of all commands; its help shows them in sections, then examples and exit codes."""

    def __init__(self, *arguments: Any, examples: tuple[tuple[str, str], ...] = (), **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.examples = examples
        self.sections: dict[str, Sequence[click.Command]] = {}

    def add_section(self, title: str, commands: Sequence[click.Command]) -> None:
        """Add commands under a title."""
        self.sections[title] = commands
        for command in commands:
            self.add_command(command)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take switches of all commands from wherever they stand, before or after the name of the command."""
        ours = args[: args.index("--")] if "--" in args else args
        moved = [word for word in _EVERYWHERE if word in ours]
        return super().parse_args(ctx, [*moved, *(word for word in ours if word not in moved), *args[len(ours) :]])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        """Write each section with the first sentence of its commands."""
        width = max(len(name) for name in self.commands)
        for title, commands in self.sections.items():
            with formatter.section(title):
                lines = [
                    ((command.name or "").ljust(width), command.get_short_help_str(limit=200)) for command in commands
                ]
                formatter.write_dl(lines, col_spacing=2)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        """Write the examples and the exit codes."""
        _write_examples(formatter, self.examples)
        with formatter.section("Exit codes"):
            formatter.write_dl(EXIT_CODES)


def _write_examples(formatter: click.HelpFormatter, examples: tuple[tuple[str, str], ...]) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for line, does in examples:
            formatter.write_text(f"{does}:")
            formatter.write(f"{'':>{formatter.current_indent + 2}}crypto-assets {line}\n")


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": _MOST_COLUMNS}
"""Settings of every command: help uses the terminal's width, up to 100 columns."""

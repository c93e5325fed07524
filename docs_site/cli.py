"""The command line: every command with its usage, options, defaults and examples, from the commands themselves."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import click

from crypto_assets.cli import cli
from crypto_assets.cli.help import EXIT_CODES, Help
from crypto_assets.sandbox.__main__ import parser
from docs_site.tables import table

_PAGE = re.compile(r"\bdocs/((?:[\w-]+/)*([\w-]+))\.md")


def markdown() -> str:
    """Return the options of all commands, then each command in the sections of `crypto-assets --help`."""
    parts = ["## crypto-assets", *_about(cli, click.Context(cli, info_name="crypto-assets"))]
    parts += ["Exit codes:", table(("code", "meaning"), EXIT_CODES)]
    for title, commands in cli.sections.items():
        parts.append(f"## {title}")
        for command in sorted(commands, key=lambda one: one.name or ""):
            parts += _command(command, "crypto-assets")
    return "\n\n".join(parts)


def _command(command: click.Command, parent: str) -> Iterator[str]:
    name = f"{parent} {command.name}"
    context = click.Context(command, info_name=name)
    yield f"### {name}"
    if command.name == "sandbox":
        yield from _sandbox()
        return
    yield from _about(command, context)
    if isinstance(command, click.Group):
        for one in sorted(command.commands.values(), key=lambda one: one.name or ""):
            yield from _command(one, name)


def _about(command: click.Command, context: click.Context) -> Iterator[str]:
    yield _code(f"{context.info_name} {' '.join(command.collect_usage_pieces(context))}")
    yield _prose(command.help or "")
    options = [one for one in command.get_params(context) if isinstance(one, click.Option) and not one.hidden]
    yield table(("option", "meaning"), (_option(one, context) for one in options))
    if isinstance(command, Help) and command.examples:
        yield "\n".join(f"- {does}: `crypto-assets {line}`" for line, does in command.examples)


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    # click's own line of the help: names with the kind of value, text with default, range and "required".
    names, text = option.get_help_record(context) or ("", "")
    return ", ".join(f"`{name.strip()}`" for name in names.split(", ")), text.replace("[", "\\[")


def _prose(text: str) -> str:
    plain = "\n\n".join(" ".join(part.split()) for part in text.replace("\b", "").split("\n\n"))
    return _PAGE.sub(r"[\2](../\1.md)", plain)


def _code(text: str) -> str:
    return f"```text\n{text}\n```"


def _sandbox() -> Iterator[str]:
    words = parser()
    yield _code("crypto-assets sandbox [OPTIONS]")
    yield "Serve a synthetic exchange on loopback, or a folder of real archive files. Its prices are not real."
    yield table(("option", "meaning"), (_argument(one) for one in words._actions if one.help != argparse.SUPPRESS))


def _argument(action: argparse.Action) -> tuple[str, str]:
    value = f" {action.metavar or action.dest.upper()}" if action.nargs != 0 else ""
    text = (action.help or "").replace("(%(default)s)", "").strip()
    plain = action.default not in (None, [], argparse.SUPPRESS) and "default" not in text
    return ", ".join(
        f"`{name}{value}`" for name in action.option_strings
    ), text + plain * f" \\[default: {action.default}]"

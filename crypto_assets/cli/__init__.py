"""The command `crypto-assets`.

Exit codes: 0 when every day asked for is available, provisional or known to have no data; 1 when a day is missing or
degraded (one line for each), or when something else failed; 2 for bad arguments or configuration, before anything is done,
and for a database, a lake or Dagster tables of another version.
"""

import errno
import gc
import os
import signal
import sys
from pathlib import Path

import click

from crypto_assets.cli.commands import all_commands
from crypto_assets.cli.console import err, print_error
from crypto_assets.cli.help import CONTEXT, Sections
from crypto_assets.cli.options import ENVIRONMENT
from crypto_assets.config.error_log import last_line
from crypto_assets.errors import ConfigError
from crypto_assets.machine.error_words import traceback_of
from crypto_assets.machine.process_exit import EXIT_CODE, end_now
from crypto_assets.text.visible import visible_lines
from crypto_assets.version import __version__

_WITHOUT_COLLECTION = ("init", "demo", "selftest", "sandbox")
"""Commands that have their own collection, or use none."""

_ANYWHERE = ("init", "sandbox", "selftest")
"""Commands that do not work on the project of the working directory."""

_CHECKING = ("config",)
"""Commands that look at the settings themselves, and say all that is wrong with them."""

_MAKING = ("demo", "up", "collect", "fill", "pause", "selftest", "sandbox")
"""Commands that create CRYPTO_ASSETS_HOME; the others only read it."""


@click.group(
    cls=Sections,
    context_settings=CONTEXT,
    examples=(
        ("demo", "A first look, without a network"),
        ("collect --from 2024-01-01 --to 2024-01-31", "One month of everything in collection.yaml"),
        ("fill", "Everything that is missing up to yesterday"),
        ("up", "The Dagster UI, sensors and schedules"),
    ),
)
@click.version_option(__version__, prog_name="crypto-assets")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The collection; default: CRYPTO_ASSETS_CONFIG or collection.yaml.",
)
@click.option("--demo", is_flag=True, help="Work on what `crypto-assets demo` collected, and its sandbox exchange.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def cli(context: click.Context, config: Path | None, demo: bool, debug: bool) -> None:  # noqa: ARG001  debug: for main()
    """Collect crypto market data: complete, or it says exactly what is missing and why."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        return
    context.meta[ENVIRONMENT] = sorted(os.environ)
    from crypto_assets.config.environment import require_file, settings, settings_at_start
    from crypto_assets.config.loopback import keep_loopback_direct
    from crypto_assets.config.project_folder import working_directory
    from crypto_assets.sandbox.demo import demo_environment, require_demo

    if config is not None:
        named = config.expanduser()
        named = named if named.is_absolute() else working_directory() / named
        require_file(named)
        os.environ["CRYPTO_ASSETS_CONFIG"] = str(named)
    if context.invoked_subcommand in _CHECKING and not demo:
        return
    now = settings()
    if context.invoked_subcommand not in _ANYWHERE:
        for line in now.project_lines:
            err.print(line, markup=False)
    keep_loopback_direct()
    if demo or now.is_demo:
        if context.invoked_subcommand not in _MAKING:
            require_demo()
        context.with_resource(demo_environment())
    elif context.invoked_subcommand not in _WITHOUT_COLLECTION:
        settings_at_start()


for _title, _commands in all_commands().items():
    cli.add_section(_title, _commands)


_OTHER_NAMES = {
    "--start": "--from",
    "--since": "--from",
    "--first": "--from",
    "--end": "--to",
    "--until": "--to",
    "--last": "--to",
    "--pair": "--symbol",
    "--ticker": "--symbol",
    "--market": "--market-type",
    "--timeframe": "--dataset",
    "--interval": "--dataset",
}
"""Option names of other tools, and the names used here."""

_NO_MEMORY = b"error: this process has not enough memory, and cannot say for what; raise ulimit -v or free memory\n"
"""Printed where even building an error message fails."""


def main() -> None:
    """Run the command; turn every error into one message on stderr and an exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.option_name in ("--config",):
            hint = f" {error.option_name} stands before the command: crypto-assets {error.option_name} …"
            error = click.NoSuchOption(error.option_name, error.message + hint, error.possibilities, error.ctx)
        elif isinstance(error, click.NoSuchOption) and (meant := _OTHER_NAMES.get(error.option_name)):
            error = click.NoSuchOption(error.option_name, f"{error.message} Did you mean {meant}?", None, error.ctx)
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        err.print("stopped")
        end_now(EXIT_CODE)
    except BrokenPipeError:
        _nobody_reads()
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            _nobody_reads()
        if "--debug" in sys.argv:
            sys.stderr.write(visible_lines(traceback_of(error)) + "\n")
        try:
            print_error(last_line(error))
        except (MemoryError, ImportError, SystemError):
            os.write(2, _NO_MEMORY)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    finally:
        # Python would visit every object once more before it exits: a second of CPU with Dagster loaded.
        gc.freeze()


def _nobody_reads() -> None:
    """End quietly after `| head`, when nobody reads stdout. Python would report the closed pipe once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(EXIT_CODE)

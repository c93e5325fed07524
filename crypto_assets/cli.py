"""The command `crypto-assets`.

Exit codes: 0 when every day asked for is available, provisional or known to have no data; 1 when something is missing or
degraded, with one line for each; 2 for bad arguments or configuration.
"""

import gc
import signal
import sys
import traceback
from pathlib import Path

import click

from crypto_assets.commands import all_commands
from crypto_assets.commands.console import err, escape
from crypto_assets.ending import EXIT_CODE, end_now
from crypto_assets.errors import ConfigError, CryptoAssetsError
from crypto_assets.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
    if config:
        import os

        os.environ["CRYPTO_ASSETS_CONFIG"] = str(config.absolute())
    if not {"-h", "--help"} & set(sys.argv):
        from crypto_assets.demo import demo_environment, is_demo_home

        if demo or is_demo_home():
            context.with_resource(demo_environment())


for _command in all_commands():
    cli.add_command(_command)


def main() -> None:
    """Run the command; our own errors become one message on stderr and an exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        err.print("stopped")
        end_now(EXIT_CODE)
    except CryptoAssetsError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        err.print(f"[red]error:[/red] {escape(str(error))}")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    finally:
        # Python would look through every object once more before it ends: a second of CPU with Dagster loaded.
        gc.freeze()


if __name__ == "__main__":
    main()

"""The command `crypto-assets`, also as `python -m crypto_assets`: importing what it needs takes half a second.

Ctrl-C in this half second ends it with one word, as later. Nothing else belongs here.
"""

import os
import signal
import sys
from typing import NoReturn


def main() -> None:
    """Run the command."""
    # Not an exception: in the middle of an import nobody would catch it. A shell's `&` lets SIGINT be ignored; so it stays.
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stopped)
    from crypto_assets.machine.garbage import no_search_for_garbage

    with no_search_for_garbage():
        from crypto_assets.cli import main as run

    for number, handler in before.items():
        signal.signal(number, handler)
    run()


def _stopped(*_: object) -> NoReturn:
    sys.stderr.write("stopped\n")
    sys.stderr.flush()
    os._exit(130)


if __name__ == "__main__":
    main()

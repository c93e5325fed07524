"""A code location with a heavy import, for the tests of the code server and the launcher."""

import os
import time
from pathlib import Path

import dagster as dg
import pandas as pd


@dg.asset
def spent(context: dg.AssetExecutionContext) -> None:
    """Write the CPU seconds that this process used before its first line of user code, and its pid."""
    Path(os.environ["TINY_OUTPUT"]).write_text(f"{time.process_time()} {os.getpid()} {len(pd.DataFrame())}")
    context.log.info("started")
    time.sleep(float(os.environ.get("TINY_SLEEP_S", "0")))


defs = dg.Definitions([spent], executor=dg.in_process_executor)

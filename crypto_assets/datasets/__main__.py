"""Print docs/datasets.md."""

from __future__ import annotations

import sys

from crypto_assets.datasets.page import page

if __name__ == "__main__":
    sys.stdout.write(page())

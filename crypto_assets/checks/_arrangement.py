"""The kind of check that judges the order of rows in the published file; stored rows no longer show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crypto_assets.model import Finding, Partition, Rule, Series

if TYPE_CHECKING:
    from crypto_assets.rows.arrange import Arrangement


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrangementCheck(Rule):
    """A rule about the order of the rows in the file; `judge` takes (arrangement, partition, series).

    It is judged when a file is parsed; the finding is kept with the stored rows.
    """

    judge: Callable[[Arrangement, Partition, Series], Finding]

"""The kind of check that looks at how rows stood in the file that published them; stored rows do not show it any more."""

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

    It is judged when a file is parsed; its finding stays with the stored rows.
    """

    judge: Callable[[Arrangement, Partition, Series], Finding]

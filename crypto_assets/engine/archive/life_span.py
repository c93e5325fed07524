"""The beginning and end of a symbol's life in the period of a file, with the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crypto_assets.engine.archive.lifetime import LIFE
from crypto_assets.ledger.life_edges import LISTED_FROM, LISTED_UNTIL
from crypto_assets.model import Partition


@dataclass(frozen=True, slots=True)
class Edge:
    """An end of a symbol's life, and the evidence: `source` (archive, exchange, name) and what the source says."""

    time: datetime
    evidence: Mapping[str, Any]

    def as_evidence(self) -> dict[str, Any]:
        return {"time": self.time.isoformat(), **self.evidence}


@dataclass(frozen=True, slots=True)
class LifeSpan:
    """Beginning and end of a symbol's life in the period of one file; None if the life extends beyond the period."""

    begins: Edge | None = None
    ends: Edge | None = None

    def cut(self, partition: Partition) -> tuple[Partition, dict[str, Any]]:
        """Return the partition with the edges inside its day, and their evidence."""
        since = self.begins if self.begins and partition.start < self.begins.time < partition.end else None
        until = self.ends if self.ends and partition.start < self.ends.time < partition.end else None
        evidence = {LISTED_FROM: since.as_evidence()} if since else {}
        evidence |= {LISTED_UNTIL: until.as_evidence()} if until else {}
        return (
            Partition(partition.symbol, partition.day, until.time if until else None, since.time if since else None),
            evidence,
        )


WHOLE = LifeSpan()


def edges_in(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return LISTED_FROM and LISTED_UNTIL from the evidence of a day in a file, stored or without rows."""
    found = {name: evidence[name] for name in (LISTED_FROM, LISTED_UNTIL) if name in evidence}
    if "edge" in evidence and evidence.get(LIFE) in _SIDES:
        said = {name: value for name, value in evidence.items() if name not in (LIFE, "edge", "object")}
        found[_SIDES[evidence[LIFE]]] = {**said, "time": evidence["edge"]}
    return found


_SIDES = {"before": LISTED_FROM, "after": LISTED_UNTIL}


def edge_of(evidence: Mapping[str, Any] | None) -> Edge | None:
    if not evidence:
        return None
    said = {name: value for name, value in evidence.items() if name != "time"}
    return Edge(datetime.fromisoformat(evidence["time"]), said)

"""What changed in a stored day when a new version replaced it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crypto_assets.model.partition import Partition
    from crypto_assets.model.provenance import SourceFile
    from crypto_assets.model.series import Series


@dataclass(frozen=True, slots=True)
class Change:
    """One number that changed: the row's key as text, the column, the value before and after."""

    key: str
    column: str
    before: Decimal
    after: Decimal

    @property
    def relative(self) -> float:
        """The change as a share of the value before; infinite if that was 0."""
        return float(abs(self.after - self.before) / abs(self.before)) if self.before else float("inf")

    def __str__(self) -> str:
        share = f" ({100 * self.relative:.3g} %)" if self.before else ""
        return f"{self.column} at {self.key}: {plain(self.before)} → {plain(self.after)}{share}"


@dataclass(frozen=True, slots=True)
class Example:
    """One difference as text: `what` is `added`, `removed` or the name of the column that changed."""

    key: str
    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """The differences between a new version's rows and the earlier ones.

    `columns` are the columns with a changed value. `price` is the greatest relative change of a number that is not an amount
    (prices, rates). `volume` is the greatest absolute change in the first changed column of amounts (`volume` before
    `quote_volume`). `examples` are the first differences in key order. `grew`: the new version begins with all the earlier
    rows, in the same order. `reordered`: the common rows have another order.
    """

    added: int
    removed: int
    changed: int
    columns: tuple[str, ...] = ()
    price: Change | None = None
    volume: Change | None = None
    examples: tuple[Example, ...] = ()
    grew: bool = False
    reordered: bool = False

    @property
    def equal(self) -> bool:
        return not (self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Correction:
    """A stored day that was replaced: by other rows, or by the same rows published again.

    `former_*` and `known_from` (since when its rows were known) belong to the earlier version. `kept` is the present path of
    its file in the lake: None if the rows are the same, or lost. `difference` is None if they are lost. `reordered`: the two
    files have the same rows in different order. `former_state` is None if the ledger did not know the version.
    """

    series: Series
    partition: Partition
    difference: Difference | None
    former: SourceFile
    former_sha256: str
    former_rows: int
    known_from: datetime | None
    source: SourceFile
    sha256: str
    rows: int
    kept: str | None
    reordered: bool = False
    former_state: str | None = None
    former_reason: str = ""
    former_until: datetime | None = None

    @property
    def changes_rows(self) -> bool:
        """Whether an earlier version with other rows exists, or may exist."""
        return self.difference is None or not self.difference.equal

    @property
    def text(self) -> str:
        """The correction in one line."""
        by = "" if self.former.source == self.source.source else f" ({self.former.source} → {self.source.source})"
        found = self.difference
        if found is None:
            return f"replaced{by}: {self.former_rows} rows, their file is damaged or deleted, became {self.rows}"
        if found.equal:
            return (
                f"published again{by}, another order, same rows"
                if self.reordered
                else f"published again{by}, rows equal"
            )
        counts = {"added": found.added, "removed": found.removed, "changed": found.changed}
        text = f"rows {', '.join(f'{count} {what}' for what, count in counts.items() if count)}{by}"
        if found.columns:
            text += f"; columns {', '.join(found.columns)}"
        return text + "".join(f"; {change}" for change in (found.price, found.volume) if change)

    @property
    def markdown(self) -> str:
        """The line of `text`, and the first differences as a table."""
        examples = self.difference.examples if self.difference else ()
        rows = [f"|{e.key}|{e.what}|{e.before}|{e.after}|" for e in examples]
        table = "\n\n|row|what|before|after|\n|-|-|-|-|\n" + "\n".join(rows) if rows else ""
        return self.text + table


def plain(value: Any) -> str:
    """Return a value of a row as text: decimals without trailing zeros, instants without the zone, which is UTC."""
    if value is None:
        return "no value"
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ")
    return str(value)

"""The shared state of an exchange's limits in Postgres: budgets and their cool-downs; and a summary for people.

A cool-down is as long as the exchange asks (`Retry-After`). Without one it doubles with each refusal, from 5 s for a
slow-down and from minutes for a ban: each source says from how many. A ban that follows a slow-down is the first ban.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crypto_assets.sources.limits import Limit, parse_limit
from crypto_assets.storage.database import Database
from crypto_assets.storage.patience import repeatable
from crypto_assets.transport import breaker
from crypto_assets.transport.breaker import Breaker

_FIRST_S, _LONGEST_S = 5.0, 900.0
_LONGEST_BAN_S = 259_200.0
_JITTER_S = 0.25

_BUDGET_ID = """
INSERT INTO collection.budgets AS b (exchange, egress, budget, limits) VALUES (%s, %s, %s, %s)
ON CONFLICT (exchange, egress, budget) DO UPDATE SET limits = excluded.limits WHERE b.limits <> excluded.limits
"""

# Requests in flight together are refused together: that is one strike, and it does not prolong the pause. A ban after
# slow-downs is no such repetition, so it prolongs their pause; a slow-down during a ban is one. Slow-downs and bans are
# counted apart. Ten quiet minutes clear both counts.
_COOL_DOWN = """
WITH present AS (
    SELECT cool_until, coalesce(cool_until > clock_timestamp(), false) AS paused,
           coalesce(cool_until > clock_timestamp() - interval '10 minutes', false) AS recent,
           cool_is_ban, CASE WHEN %(ban)s THEN bans ELSE strikes END AS count
    FROM collection.budgets WHERE id = %(id)s FOR UPDATE
), judged AS (
    SELECT *, paused AND (cool_is_ban OR NOT %(ban)s) AS repeated,
           CASE WHEN paused AND (cool_is_ban OR NOT %(ban)s) THEN greatest(count, 1)
                WHEN recent THEN count + 1 ELSE 1 END AS strike
    FROM present
), decided AS (
    SELECT *, CASE WHEN %(seconds)s::float8 IS NULL AND repeated THEN cool_until ELSE
        greatest(cool_until, clock_timestamp() + make_interval(secs => coalesce(%(seconds)s::float8,
            least(%(first_s)s * 2 ^ least(strike - 1, 20), %(longest_s)s) * (1 + random() / 4)))) END AS until
    FROM judged
)
UPDATE collection.budgets b SET
    strikes = CASE WHEN %(seconds)s::float8 IS NULL AND NOT %(ban)s THEN strike WHEN recent THEN strikes ELSE 0 END,
    bans = CASE WHEN %(seconds)s::float8 IS NULL AND %(ban)s THEN strike WHEN recent THEN bans ELSE 0 END,
    cool_is_ban = %(ban)s OR (paused AND d.cool_is_ban),
    cool_until = until,
    cool_status = CASE WHEN paused AND until <= d.cool_until THEN cool_status ELSE %(status)s END,
    cool_reason = CASE WHEN paused AND until <= d.cool_until THEN cool_reason ELSE %(reason)s END
FROM decided d WHERE b.id = %(id)s
RETURNING extract(epoch FROM b.cool_until - clock_timestamp())::float8, b.cool_status, b.cool_reason
"""

_COOL = """
SELECT exchange, budget, extract(epoch FROM cool_until - clock_timestamp())::float8, cool_status, cool_reason
FROM collection.budgets WHERE egress = %s AND cool_until > clock_timestamp()
"""

_USED = """
SELECT coalesce(sum(weight), 0), coalesce(sum(requests), 0) FROM collection.grants
WHERE budget_id = %s AND granted_at > clock_timestamp() - make_interval(secs => %s)
"""


@dataclass(frozen=True, slots=True)
class Use:
    """The used part of one limit within its window until now."""

    exchange: str
    egress: str
    budget: str
    limit: str
    used: int
    amount: int


@dataclass(frozen=True, slots=True)
class CoolDown:
    """A budget that is paused for all processes."""

    exchange: str
    egress: str
    budget: str
    until: datetime
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The limits, cool-downs and breakers at one moment."""

    limits: list[Use]
    cool_downs: list[CoolDown]
    breakers: list[Breaker]


@repeatable
def snapshot(database: Database) -> Snapshot:
    """Return limits in use, cool-downs and breakers that are not closed, for all our addresses."""
    uses: list[Use] = []
    with database.transaction() as connection:
        query = "SELECT id, exchange, egress, budget, limits FROM collection.budgets ORDER BY exchange, egress, budget"
        for budget_id, exchange, egress, budget, limits in connection.execute(query).fetchall():
            for text in limits:
                limit = parse_limit(text)
                row = connection.execute(_USED, (budget_id, limit.window_s)).fetchone() or (0, 0)
                used = int(row[0] if limit.unit == "weight" else row[1])
                uses.append(Use(exchange, egress, budget, text, used, limit.amount))
        query = (
            "SELECT exchange, egress, budget, cool_until, cool_status, cool_reason FROM collection.budgets "
            "WHERE cool_until > clock_timestamp() ORDER BY exchange, egress, budget"
        )
        cool = [CoolDown(*row) for row in connection.execute(query).fetchall()]
    return Snapshot(uses, cool, breaker.read(database))


@repeatable
def budget_id(database: Database, exchange: str, egress: str, budget: str, limits: Sequence[Limit]) -> int:
    """Return the row of a budget; the first call creates it. Its limits are stored for people to read."""
    with database.transaction() as connection:
        connection.execute(_BUDGET_ID, (exchange, egress, budget, [str(limit) for limit in limits]))
        query = "SELECT id FROM collection.budgets WHERE (exchange, egress, budget) = (%s, %s, %s)"
        row = connection.execute(query, (exchange, egress, budget)).fetchone()
    assert row is not None  # noqa: S101 - just made
    return int(row[0])


@repeatable
def cool_downs(database: Database, egress: str) -> list[tuple[str, str, float, int, str]]:
    """Return exchange, budget, seconds left, status and reason of each cool-down."""
    with database.transaction() as connection:
        return connection.execute(_COOL, (egress,)).fetchall()


@repeatable
def cool_down(
    database: Database,
    budget_id: int,
    seconds: float | None,
    status: int,
    reason: str,
    *,
    first_ban_s: float | None = None,
) -> tuple[float, int, str]:
    """Pause a budget for some seconds (None: longer each time).

    Returns:
        The seconds left now, and the status and the reason of the refusal that made the pause so long.

    Args:
        first_ban_s: the length of a first ban; None: it is a slow-down.
    """
    values: dict[str, Any] = {
        "id": budget_id,
        "ban": first_ban_s is not None,
        "seconds": seconds,
        "status": status,
        "reason": reason[:500],
        "first_s": _FIRST_S if first_ban_s is None else first_ban_s,
        "longest_s": _LONGEST_S if first_ban_s is None else _LONGEST_BAN_S,
    }
    with database.transaction() as connection:
        row = connection.execute(_COOL_DOWN, values).fetchone()
    assert row is not None  # noqa: S101 - `budget_id` has made it
    return float(row[0]), row[1], row[2]


@repeatable
def learn_clock(database: Database, budget_id: int, low_s: float, high_s: float) -> None:
    """Store the bounds of how far the exchange's clock is ahead of Postgres'."""
    with database.transaction() as connection:
        connection.execute("SELECT collection.learn_clock(%s, %s, %s)", (budget_id, low_s, high_s))


def jitter() -> float:
    """Return a short random wait, so that threads that waited for the same instant do not all start at once."""
    return random.uniform(0.0, _JITTER_S)  # noqa: S311 - no secret

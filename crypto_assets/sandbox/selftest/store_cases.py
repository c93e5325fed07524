"""Cases of damage to our own lake or database between two collections: it is noticed, and `fill` repairs it.

Nothing is written at the place of a lost lake until somebody accepts it: the lake may be unmounted.
"""

from __future__ import annotations

from crypto_assets.sandbox.selftest import store_damage
from crypto_assets.sandbox.selftest.case import AVAILABLE, Case, one_of
from crypto_assets.sandbox.selftest.scenes import THREE_DAYS
from crypto_assets.sandbox.selftest.store_damage import Happens


def _store(name: str, happens: Happens, *says: str, everything: bool = False, refused: str = "") -> Case:
    """Damage that must be noticed, with one of these words in the reason; without words nothing is lost."""
    first = THREE_DAYS.first if everything else None
    return Case(
        name, (), one_of(AVAILABLE), says, first=first, stored=True, happens=happens, refused=refused, fill=True
    )


STORES = (
    _store("a lost file", store_damage.lose_files, "missing in the lake"),
    _store("a damaged file", store_damage.cut_files, "damaged in the lake"),
    _store("another lake", store_damage.take_another_lake, "missing in the lake", everything=True),
    _store(
        "a lost lake", store_damage.lose_lake, "missing in the lake", everything=True, refused="is not where it was"
    ),
    _store("a lake that was moved", store_damage.move_lake),
    _store("an emptied table", store_damage.empty_warehouse, "missing in Postgres", everything=True),
)

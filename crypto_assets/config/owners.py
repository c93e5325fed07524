"""The owners that collection.yaml names for its assets, checked as Dagster checks them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

# As `dagster._core.utils.is_valid_email`; Dagster itself would refuse the whole code location without naming the file.
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
# The letters of a tag of Dagster, so that `owner:"…"` in its search finds the team.
_TEAM = re.compile(r"team:[A-Za-z0-9_.-]{1,63}")


def _checked(owners: list[str]) -> list[str]:
    for owner in owners:
        if not (_EMAIL.fullmatch(owner) or _TEAM.fullmatch(owner)):
            raise ValueError(
                f"expected an email address or a team such as team:research, found {owner[:100]!r}; a "
                "team has letters a-z, digits and . _ -"
            )
    return owners


Owners = Annotated[list[str], Field(max_length=20), AfterValidator(_checked)]
"""Email addresses and teams (`team:research`), as Dagster shows them on the page of an asset."""

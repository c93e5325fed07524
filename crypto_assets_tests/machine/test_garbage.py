"""Python's garbage collection around imports and what stays."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import gc, json
from crypto_assets.machine.garbage import no_search_for_garbage
searches = []
gc.callbacks.append(lambda phase, info: searches.append(phase))
with no_search_for_garbage():
    kept = [[] for _ in range(50_000)]
inside, frozen = len(searches), gc.get_freeze_count()
class Loop: pass
before = len(searches)
for _ in range(50_000):
    one = Loop()
    one.self = one
left = sum(isinstance(one, Loop) for one in gc.get_objects())
print(json.dumps([inside, frozen, gc.isenabled(), len(searches) - before, left]))
"""


def test_what_stays_is_made_without_a_search_and_garbage_is_still_found_later() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], text=True, capture_output=True, check=True)
    inside, frozen, is_on, searches, left = json.loads(done.stdout)
    assert (inside, is_on) == (0, True)
    assert frozen >= 50_000
    # A search begins and ends; with Python's own threshold there would be 140 of them.
    assert 2 <= searches <= 20
    assert left < 20_000

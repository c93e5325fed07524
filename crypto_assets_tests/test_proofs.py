"""The proofs, as small as they still show something."""

from __future__ import annotations

from proofs import discovery


def test_a_listing_is_followed_without_reading_again_what_is_known(postgres_url):
    results = discovery.prove(30, 60, postgres_url, say=False)
    assert results.wrong == []
    first, hour, silent, one, morning, patrol = results.costs
    assert (first.listings, first.symbol_days) == (30, 30 * 60)
    assert (hour.listings, hour.requested) == (30, [])
    assert (silent.ticks, silent.listings, silent.statements) == (100, 0, 100)
    assert (one.ticks, one.listings, one.symbol_days) == (1, 30, 1)
    assert (morning.ticks, morning.listings, morning.symbol_days) == (1, 29, 29)
    assert patrol.symbol_days == 1

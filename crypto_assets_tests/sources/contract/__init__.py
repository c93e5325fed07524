"""The contract of sources: what each of them offers, held against the sandbox's dialect of it, by one set of tests.

`python -m crypto_assets_tests.sources.contract` runs it and prints a table: source, dataset, property. Nothing here names an
exchange: `crypto_assets.sources.names()` does.
"""

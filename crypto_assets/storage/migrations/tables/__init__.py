"""SQL that creates the schemas `collection` and `market`, one file for each subject, in order."""

from crypto_assets.storage.migrations.tables import (
    archive,
    control,
    instruments,
    limits,
    market,
    partitions,
    quality,
    universe,
    versions,
    views,
)

STATEMENTS = (
    *market.STATEMENTS,
    *archive.STATEMENTS,
    *partitions.STATEMENTS,
    *versions.STATEMENTS,
    *limits.STATEMENTS,
    *control.STATEMENTS,
    *quality.STATEMENTS,
    *instruments.STATEMENTS,
    *universe.STATEMENTS,
    *views.STATEMENTS,
)

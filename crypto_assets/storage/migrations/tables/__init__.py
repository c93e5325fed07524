"""The tables of the schemas `market` and `collection`, by subject, as the statements that create them in order."""

from crypto_assets.storage.migrations.tables import archive, control, limits, market, partitions, quality, versions

STATEMENTS = (
    *market.STATEMENTS,
    *archive.STATEMENTS,
    *partitions.STATEMENTS,
    *versions.STATEMENTS,
    *limits.STATEMENTS,
    *control.STATEMENTS,
    *quality.STATEMENTS,
)

"""The tables of the schema `collection`, and the schema `market`, by subject, as the statements that create them in order."""

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

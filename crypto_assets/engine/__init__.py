"""The engine: brings a partition from its source into the stores. Nothing here imports Dagster."""

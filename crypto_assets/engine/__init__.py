"""How a partition gets from its source into the stores. Nothing here imports Dagster."""

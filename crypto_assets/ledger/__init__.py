"""What Postgres knows of collecting, in the schema `collection`: partitions, archive objects, versions, pauses, progress."""

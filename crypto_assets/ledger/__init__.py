"""What Postgres knows of collecting: the ledger of partitions and objects, versions, pauses, progress."""

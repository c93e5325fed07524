"""All SQL on the schema `collection`: partitions, archive objects, versions, pauses, progress."""

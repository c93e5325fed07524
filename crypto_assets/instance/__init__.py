"""What makes Dagster cheap and sturdy here: instance storage, bulk events, run launcher, code server.

Each module touches private parts of Dagster 1.13, is optional, and has a test that says when a new Dagster breaks it.
Without them (another `dagster.yaml`, plain `dagster dev`) everything works, only slower.
"""

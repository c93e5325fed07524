"""Extensions that make Dagster fast and robust here: instance storage, bulk events, run launcher, code server.

Each module touches private parts of Dagster 1.13, is optional, and has a test that fails when a new Dagster breaks it.
Without them (another `dagster.yaml`, plain `dagster dev`) everything works, only slower.
"""

"""The configuration: collection.yaml, the environment, and the filters of a command."""

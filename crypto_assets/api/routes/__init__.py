"""The paths of version 1, by subject; docs/api.md describes each."""

"""The paths of version 1, by subject; docs/reference/http.md describes each."""

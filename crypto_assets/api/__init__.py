"""The HTTP API for programs, on loopback: stored, missing and partial data, running work, pauses."""

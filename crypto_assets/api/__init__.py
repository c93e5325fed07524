"""The HTTP API: what is there, what is not and why, what is running, and pausing it; for programs, on loopback."""

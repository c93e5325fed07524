"""Proofs of promises that take minutes, each a command: `python -m proofs.NAME`; `make prove` runs all."""

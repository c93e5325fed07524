"""Promises that take minutes to show, each a command: `python -m proofs.NAME`; `make prove` runs all of them."""

"""The columns that identify a partition, in every table of days."""

PARTITION = """
    exchange text NOT NULL,
    market_type text NOT NULL,
    symbol text NOT NULL,
    dataset text NOT NULL,
    day date NOT NULL,
"""

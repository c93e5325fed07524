"""`python -m bench`: measure the cost of collecting and compare it with a plain script for the same work, in the same run."""

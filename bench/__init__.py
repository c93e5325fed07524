"""`python -m bench`: what collecting costs, beside a plain script that does the same work, in the same run."""

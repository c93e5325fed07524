"""Watching archives: what each listing held at the last look, and what is new since."""

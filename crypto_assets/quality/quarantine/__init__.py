"""Files that were refused: which there are and why, and judging them again."""

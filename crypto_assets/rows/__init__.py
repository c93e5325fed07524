"""Pure functions of rows: derive rows, order them, compare two versions."""

"""Pure functions of rows: what follows from them, how two versions of them differ."""

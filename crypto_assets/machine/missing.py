"""Check whether a file is missing, and not only unreadable."""

from pathlib import Path


def is_missing(path: Path) -> bool:
    """Return whether a name does not exist.

    Raises:
        OSError: this cannot be known. `os.path.lexists`, and `Path.exists` from Python 3.14 on, return False then.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False

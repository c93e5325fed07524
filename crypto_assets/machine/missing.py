"""Whether something is missing, and not only out of reach."""

from pathlib import Path


def is_missing(path: Path) -> bool:
    """Whether a name does not exist.

    Raises:
        OSError: that cannot be told. `os.path.lexists` takes this for a yes, and so does `Path.exists` from Python 3.14 on.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False

"""The bytes of a file."""

from __future__ import annotations

from mmap import mmap

Content = bytes | mmap
"""The bytes of a file: in memory, or mapped from a temporary file that has no name."""

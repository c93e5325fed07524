"""Recognise errors that mean this process or machine is out of memory, open files, threads or disk space.

Such an error says nothing about the file or host in use. Every broad `except` that judges a file, an answer or a host asks
this first: a good file of the exchange must not go to quarantine/ because this process had no file descriptor left.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import socket
import ssl
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from xml.etree import ElementTree

from crypto_assets.errors import CryptoAssetsError, OutOfResources

_THEN = "then run this again"

_BY_NUMBER = {
    errno.EMFILE: "open files",
    errno.ENFILE: "open files of this machine",
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory",
    errno.EAGAIN: "threads and processes",
    errno.ENOSPC: "room",
    errno.EDQUOT: "room",
    errno.EFBIG: "file size",
}

_NO_MEMORY_OF_ZLIB = "Error -4 "
_NO_MEMORY_OF_EXPAT = 1
_NO_THREAD = "can't start new thread"
_LOST = "error return without exception set"
"""Python's message if it had no memory for the MemoryError itself; accepted only if memory is limited."""

# Texts of these errors in libraries that keep only the text: the C library and its loader, zstd, Arrow and PostgreSQL.
_BY_WORDS = (
    (re.compile(r"too many open files in system", re.IGNORECASE), "open files of this machine"),
    (re.compile(r"too many open files|insufficient file descriptors", re.IGNORECASE), "open files"),
    (re.compile(r"cannot allocate memory|not enough memory|out of memory|bad_alloc", re.IGNORECASE), "memory"),
    (re.compile(r"can't start new thread|failed to launch worker thread", re.IGNORECASE), "threads and processes"),
    (re.compile(r"could not fork.*resource temporarily unavailable", re.IGNORECASE), "threads and processes"),
    (re.compile(r"could not (?:extend|write)[^\n]*: file too large", re.IGNORECASE), "file size"),
)

_OF_THE_LOADER = re.compile(
    r": (?:failed to map segment from shared object|cannot apply additional memory protection|cannot create shared object "
    r"descriptor|cannot map zero-fill pages|cannot allocate memory in static TLS block)"
)
"""Texts of the dynamic loader for a library without enough memory (glibc's elf/dl-load.c and dl-reloc.c)."""


def shortage(error: BaseException | None, at: str = "") -> OutOfResources | None:
    """Return the shortage that an error, or one of its causes, reports; None for every other error.

    Args:
        at: what was being done; the message begins with it.
    """
    for one in _chain(error):
        if isinstance(one, OutOfResources):
            return one
        if (found := _of(one)) is not None:
            return _in_words(found, one, at)
    return None


def raise_if_ours(error: BaseException, at: str = "") -> None:
    """Raise OutOfResources if an error, or one of its causes, reports a shortage of this process."""
    if (found := shortage(error, at)) is not None:
        raise found from error


@contextmanager
def named_shortage(at: str = "") -> Iterator[None]:
    """Turn an error in the block that reports a shortage of this process into OutOfResources; others pass unchanged."""
    try:
        yield
    except Exception as error:
        raise_if_ours(error, at)
        raise


def said_in(text: str, at: str = "") -> OutOfResources | None:
    """Return the shortage that a text of our own libraries reports; never call this with an exchange's text."""
    for words, found in (*_BY_WORDS, (_OF_THE_LOADER, "memory")):
        if words.search(text):
            return _in_words(found, OSError(" ".join(text.split())[:200]), at)
    return None


def no_files_left(at: str = "") -> OutOfResources | None:
    """Return a shortage of open files, found by opening as many as a connection needs; None if that works.

    For libraries that do not say why they failed: a resolver says "no name", libpq "connection is bad".
    """
    try:
        with ExitStack() as opened:
            for _ in range(_FILES_OF_A_CONNECTION):
                opened.enter_context(Path(os.devnull).open("rb"))
    except OSError as error:
        return shortage(error, at)
    return None


_FILES_OF_A_CONNECTION = 4
"""A socket, the files that a resolver or TLS opens, and one that another thread may take meanwhile."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes; stops at our own errors, which have been judged already."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, CryptoAssetsError):
            return
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _of(error: BaseException) -> str | None:
    """Return the resource that one error reports as exhausted. Texts are read only if no exchange can have written them."""
    if isinstance(error, MemoryError):  # Arrow's and NumPy's too
        return "memory"
    if isinstance(error, ssl.SSLError):  # its numbers belong to OpenSSL
        return "memory" if error.reason == "MALLOC_FAILURE" else None
    if isinstance(error, socket.gaierror):
        return "memory" if error.errno == socket.EAI_MEMORY else None
    if isinstance(error, OSError):
        if error.errno is not None:
            return _BY_NUMBER.get(error.errno)
        return "memory" if _says_no_memory(str(error)) or _OF_THE_LOADER.search(str(error)) else None
    if isinstance(error, SystemError) and _LOST in str(error) and _addresses():
        return "memory"
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return "threads and processes"
    if isinstance(error, zlib.error) and str(error).startswith(_NO_MEMORY_OF_ZLIB):
        return "memory"
    if isinstance(error, ElementTree.ParseError) and error.code == _NO_MEMORY_OF_EXPAT:
        return "memory"
    if isinstance(error, ImportError):  # one of our libraries could not be opened or mapped
        if _OF_THE_LOADER.search(str(error)):
            return "memory"
        return next((found for words, found in _BY_WORDS if words.search(str(error))), None)
    return None


def _says_no_memory(text: str) -> bool:
    """Return whether an error text of Arrow's codecs, which has no number, reports missing memory; a CSV's text does not."""
    return bool(re.search(r"decompress\w* failed: Allocation error", text)) or text.startswith("malloc of size")


def _in_words(found: str, error: BaseException, at: str) -> OutOfResources:
    name = getattr(error, "filename", None)
    text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
    place = f"{name}: {text}" if isinstance(name, str) and name else text
    begin = f"{at}: " if at else ""
    match found:
        case "open files":
            limit = _limit(resource.RLIMIT_NOFILE)
            what = f"this process has too many open files ({place}; its limit is {limit})"
            todo = f"raise the limit (ulimit -n 4096), {_THEN}"
        case "open files of this machine":
            what = f"this machine has too many open files ({place})"
            todo = f"end the processes that have them open or raise fs.file-max, {_THEN}"
        case "memory":
            what = f"this process has not enough memory ({place}{_addresses()})"
            todo = f"give it more, or let fewer runs and downloads work at once, {_THEN}"
        case "threads and processes":
            limit, mapped = _limit(_NPROC), _addresses()
            what = f"this process cannot start another thread or process ({place}; its limit is {limit}{mapped})"
            # The error is the same if a thread's stack cannot be mapped.
            memory = "raise ulimit -v, because each thread maps a stack," if mapped else "give it more memory"
            todo = f"{memory} or raise the limit (ulimit -u, or that of the container), {_THEN}"
        case "file size":
            what = f"this process may not write a file of this size ({place})"
            todo = f"raise the limit (ulimit -f), {_THEN}"
        case _:
            what = f"there is no room left on the disk ({place})"
            todo = "make room on the disk, then run this again"
    return OutOfResources(f"{begin}{what}; this is not a problem of the file or host in use; {todo}", resource=found)


_NPROC = getattr(resource, "RLIMIT_NPROC", resource.RLIMIT_NOFILE)


def _addresses() -> str:
    """Return the limit of mapped memory, if there is one: `; ulimit -v is 1000000 kB`."""
    limit = _limit(resource.RLIMIT_AS)
    return "" if limit == "unlimited" else f"; ulimit -v is {int(limit) // 1024} kB"


def _limit(kind: int) -> str:
    soft, _ = resource.getrlimit(kind)
    return "unlimited" if soft == resource.RLIM_INFINITY else f"{soft}"

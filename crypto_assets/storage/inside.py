"""Check that a text is a path inside a root. Every path of a lake is checked here, from any source: the ledger, a lock file,
a reason in quarantine/, a key of an exchange, or this package.

The text is relative: names with a slash between them, each of 1 to 255 bytes, 1,024 bytes in total (the limit of S3). No
name is `.` or `..`, none has a control character, half a surrogate pair or a backslash (a slash on other systems and for S3
tools). So it names nothing outside the root, and the same place in a folder and in a bucket.

If the root is a folder: a folder on the way may be a link, because a part of a lake may lie on another disk. Such a link is
followed if it belongs to this user, to root, or to the owner of the lake's folder, who controls the content of the lake
anyway. (Root follows only its own links: it must not use root's rights on another user's target.) Links of other users, and
links inside quarantine/, versions/ and staging/, where nobody needs one, are refused. The checked folder is the used folder:
`folders.py` keeps each folder on the way open.

The file itself is never a link, a device or a pipe: `stores.py` opens it without following links, and reports what it found.
Replacing or removing such an object changes the object, not its target.
"""

from __future__ import annotations

import os
import re

from crypto_assets.errors import UnsafePath

MOST_BYTES = 1_024
MOST_NAME_BYTES = 255

_PATH = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+(?:/(?!\Z)|\Z))+")

WITHOUT_LINKS = ("quarantine", "versions", "staging")
"""Folders of a lake that must not contain links."""


def inside(root: str, path: str) -> str:
    """Return `root/path` if the text `path` names a place inside the root.

    Raises:
        UnsafePath: it does not; the message gives the reason.
    """
    if why := _refusal(path):
        raise UnsafePath(f"{short(path)}: expected a path inside {root}, found {why}; nothing was done with it")
    return f"{root}/{path}"


def folder_inside(root: str, path: str) -> str:
    """Return `root/path` of a folder; the path may end in a slash; empty: the root itself. Raises as `inside`."""
    return inside(root, path.removesuffix("/")) if path else root


def short(path: object) -> str:
    """Return a path for a message, cut if it is long."""
    text = str(path)
    return f"{text[:200]}…" if len(text) > 200 else text or "an empty text"


def safe_name(text: str) -> str:
    """Return a path made from the key of an archive object; parts that `inside` would refuse are replaced."""
    names = [re.sub(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff]", "_", name) for name in text.split("/")]
    cut = [_cut(name, 150) for name in names if name not in ("", ".", "..")]
    while len("/".join(cut).encode()) > MOST_BYTES - 200:  # quarantine/ before it, digits and .reason.json after it
        cut.pop(0)
    return "/".join(cut) or "unnamed"


def require_followed(root: str, link: str, owner: int) -> None:
    """Refuse a link that must not be followed.

    Args:
        link: its path below the root.
        owner: the user id of its owner.

    Raises:
        UnsafePath: names the link, its owner and what to do.
    """
    place = f"{root}/{link}"
    if "/" in link and link.startswith(tuple(f"{name}/" for name in WITHOUT_LINKS)):
        raise UnsafePath(f"{place}: expected a folder, found a link; remove it, links in there are not followed")
    if not is_trusted(root, owner):
        raise UnsafePath(
            f"{place}: expected a folder or a link of your own to one, found a link of user {owner}; remove it, or make "
            "it yours with `chown -h` if you know where it leads"
        )


def is_trusted(root: str, user: int) -> bool:
    """Whether links of a user are followed."""
    me = os.geteuid()
    return user in ({0} if me == 0 else {0, me, os.stat(root).st_uid})  # noqa: PTH116  one call, no object


def _refusal(path: str) -> str:
    """Return why a text is not a path inside a root; empty if it is."""
    if not isinstance(path, str):
        return f"{type(path).__name__}, not a text"
    if _PATH.fullmatch(path):
        if len(path) * 4 <= MOST_NAME_BYTES:
            return ""
        if len(path.encode()) > MOST_BYTES:
            return f"one of {len(path.encode()):,} bytes ({MOST_BYTES:,} at most)"
        longest = max(len(name.encode()) for name in path.split("/"))
        return f"a name of {longest:,} bytes ({MOST_NAME_BYTES} at most)" if longest > MOST_NAME_BYTES else ""
    if path.startswith("/"):
        return "an absolute one"
    names = path.split("/")
    if ".." in names or "." in names:
        return "one with .. or . in it"
    return "one with an empty name in it" if "" in names else "one with a control character or a backslash in it"


def _cut(name: str, most: int) -> str:
    return name.encode()[:most].decode(errors="ignore")

"""Whether a text is a path inside a root. Every path of a lake comes through here, whoever says it: the ledger, a lock file,
a reason in quarantine/, a key of an exchange, or this package.

The text. It is relative: names with a slash between them, each of 1 to 255 bytes, 1,024 bytes in all (what S3 takes). No
name is `.` or `..`, none has a control character, half a surrogate pair or a backslash (which is a slash for other systems
and for S3 tools). So it names no place outside of the root, and the same place in a folder and in a bucket.

The folders on the way, where the root is a folder. One of them may be a link, because a part of a lake may lie on another
disk: such a link is followed where it belongs to this user, to root, or to the owner of the lake's own folder, who decides
anyway what is in the lake. (For root only its own: it must not do with root's rights what another user points at.) Links of
others, and links inside of quarantine/, versions/ and staging/, where nobody needs one, are refused. What was judged is what
is used: `folders.py` holds each folder on the way open.

The file itself is never a link, a device or a pipe: `stores.py` opens it without following one, and says what it found. To
replace or to remove such a thing touches the thing, not what it points at.
"""

from __future__ import annotations

import os
import re

from crypto_assets.errors import UnsafePath

MOST_BYTES = 1_024
MOST_NAME_BYTES = 255

_PATH = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+(?:/(?!\Z)|\Z))+")

WITHOUT_LINKS = ("quarantine", "versions", "staging")
"""Folders of a lake that have no links below them."""


def inside(root: str, path: str) -> str:
    """Return `root/path`, where the text `path` names something inside of the root.

    Raises:
        UnsafePath: it does not; says why.
    """
    if why := _refusal(path):
        raise UnsafePath(f"{short(path)}: expected a path inside {root}, found {why}; nothing was done with it")
    return f"{root}/{path}"


def folder_inside(root: str, path: str) -> str:
    """Return `root/path` of a folder, whose path may end in a slash; the root itself for an empty one. Raises as `inside`."""
    return inside(root, path.removesuffix("/")) if path else root


def short(path: object) -> str:
    """Return what should be a path for a message; of a long one the beginning."""
    text = str(path)
    return f"{text[:200]}…" if len(text) > 200 else text or "an empty text"


def safe_name(text: str) -> str:
    """Return a path made from the key of an archive object, whatever that says: what `inside` would refuse is replaced."""
    names = [re.sub(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff]", "_", name) for name in text.split("/")]
    cut = [_cut(name, 150) for name in names if name not in ("", ".", "..")]
    while len("/".join(cut).encode()) > MOST_BYTES - 200:  # quarantine/ before it, digits and .reason.json after it
        cut.pop(0)
    return "/".join(cut) or "unnamed"


def require_followed(root: str, link: str, owner: int) -> None:
    """Refuse a link on the way to a file that is not to be followed.

    Args:
        link: the path of it, below the root.
        owner: the user id that it belongs to.

    Raises:
        UnsafePath: names the link, whose it is, and what to do.
    """
    place = f"{root}/{link}"
    if "/" in link and link.startswith(tuple(f"{name}/" for name in WITHOUT_LINKS)):
        raise UnsafePath(f"{place}: expected a folder, found a link; remove it, in there none is followed")
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
    """Return why a text is no path inside of a root; empty where it is one."""
    if not isinstance(path, str):
        return f"{type(path).__name__}, no text"
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

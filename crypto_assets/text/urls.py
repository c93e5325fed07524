"""URLs written by people (Postgres, lake, hosts of exchanges, proxies): check, normalise, and show them without secrets.

A wrong URL is a ValueError that says what was expected and how to write it, and never shows a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

_HIDDEN = "***"

# The password of a URL: up to the last @ before the path. Also of `password=…`, in libpq and query strings.
_IN_URL = re.compile(r"(?P<start>[A-Za-z][A-Za-z0-9+.\-]*://[^\s:/@?#'\"]*):[^\s/?#'\"]*@")
_IN_PAIR = re.compile(r"(?P<start>\b(?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&'\"]+)", re.IGNORECASE)


def masked(text: str) -> str:
    """Return a text with *** instead of every password: in URLs, and after `password=`.

    `http://me:secret@proxy:8080` → `http://me:***@proxy:8080`.
    """
    if "://" in text and "@" in text:
        text = _IN_URL.sub(rf"\g<start>:{_HIDDEN}@", text)
    return _IN_PAIR.sub(rf"\g<start>{_HIDDEN}", text) if "assword" in text or "ASSWORD" in text else text


def masked_in(value: Any) -> Any:
    """Return JSON-serialisable evidence with every text in it masked; the same object if nothing needs masking."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        found = {name: masked_in(one) for name, one in value.items()}
        return value if all(found[name] is one for name, one in value.items()) else found
    if isinstance(value, list | tuple):
        items = [masked_in(one) for one in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


def is_loopback(host: str) -> bool:
    """Return whether a host is always this machine: localhost, 127.0.0.0/8, ::1."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    if not re.fullmatch(r"[0-9a-f.:]+", name):
        return False
    import ipaddress

    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


# ---- HTTP -----------------------------------------------------------------------------------------------------------


def host_of(url: str) -> str:
    """Return host and port as written in a URL, without user and password: `data.example.com`, `[::1]:9000`.

    Raises:
        ValueError: brackets without an address, or a port that is not a number.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    return (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")


def http_url(text: str) -> str:
    """Return the URL of an HTTP host, without a slash at its end.

    Raises:
        ValueError: not such a URL, or one with user and password: URLs appear in logs, ledgers and pages.
    """
    if "@" in text:  # first of all, because the text before the @ must not be shown
        raise ValueError(
            "expected a URL without user and password, found an @ in it (not shown here); leave out what stands before "
            "the @, and write an @ of a path as %40"
        )
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"expected a URL that starts with http:// or https://, found {masked(text)!r}")
    if re.search(r"[\s\x00-\x1f]", text):
        raise ValueError(f"expected a URL without blanks, found {masked(text)!r}")
    try:
        parts = urlsplit(text)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without an address, or a port that is not a number
        good = False
    if not good:
        raise ValueError(f"expected a URL with a host, and a port up to 65535 if any, found {masked(text)!r}")
    if parts.query or parts.fragment:
        raise ValueError(f"expected a URL without ? and #, found {masked(text)!r}")
    return text.rstrip("/")


# ---- the lake -------------------------------------------------------------------------------------------------------

_LAKE_FORM = "a folder or s3://bucket/prefix"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):(?=/)")
_KNOWN_SCHEMES = ("s3", "s3a", "s3n", "gs", "gcs", "az", "abfs", "abfss", "wasb", "hdfs", "http", "https", "file", "r2")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{1,61}[A-Za-z0-9]")


def lake_url(text: str) -> str:
    """Return the URL of a lake: s3://bucket/prefix, or a folder's absolute path.

    Raises:
        ValueError: another scheme, no bucket, or an impossible folder; the message says what to write instead.
    """
    scheme = _scheme(text)
    if scheme is None:
        return str(folder(text))
    if scheme == "file":
        parts = urlsplit(text)
        if not text.startswith("file:///"):
            raise ValueError(
                f"expected {_LAKE_FORM}, found {masked(text)!r}; write the folder's path, such as /data/lake"
            )
        return str(folder(unquote(parts.path)))
    if scheme in ("S3", "s3a", "s3n", "S3A", "S3N"):
        raise ValueError(f"expected {_LAKE_FORM}, found the scheme {scheme!r}; write s3://{_after_scheme(text)}")
    if scheme != "s3":
        raise ValueError(
            f"expected {_LAKE_FORM}, found the scheme {scheme!r}, which is not supported; for another object store that "
            "supports S3 use s3://bucket/prefix with AWS_ENDPOINT_URL"
        )
    return _bucket_url(text)


def _scheme(text: str) -> str | None:
    """Return the text before the colon if it is meant as a URL scheme, else None."""
    if match := _SCHEME.match(text):
        return match[1]
    before, colon, _ = text.partition(":")
    return before if colon and before.lower() in _KNOWN_SCHEMES else None


def _after_scheme(text: str) -> str:
    return masked("x://" + text.partition(":")[2].lstrip("/")).removeprefix("x://")


def _bucket_url(text: str) -> str:
    if not text.startswith("s3://"):
        raise ValueError(f"expected {_LAKE_FORM}, found {masked(text)!r}; write s3://{_after_scheme(text)}")
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if not bucket:
        raise ValueError(f"expected a bucket after s3://, such as s3://bucket/prefix, found {masked(text)!r}")
    if "@" in bucket:
        raise ValueError(
            "expected s3://bucket/prefix, found an @; keys do not belong in the URL, set AWS_ACCESS_KEY_ID"
        )
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise ValueError(
            f"expected the name of a bucket (3 to 63 letters, digits, dots and hyphens), found {masked(bucket)!r}"
        )
    prefix = prefix.rstrip("/")
    if re.search(r"[?#\s\x00-\x1f]", prefix) or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise ValueError(
            f"expected a prefix of plain names with / between them, found {masked(prefix)!r}; region and "
            "endpoint are AWS_* variables"
        )
    return f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"


_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def folder(text: str) -> Path:
    """Return the absolute path of a folder that exists or can be created.

    Raises:
        ValueError: a URL, an unknown user's home, or a path through a file.
    """
    if (scheme := _scheme(text)) is not None:
        raise ValueError(
            f"expected a folder, found a URL with the scheme {scheme!r}; a folder of that name is ./{text}"
        )
    if _OF_WINDOWS.match(text) and os.name != "nt":
        raise ValueError(
            f"expected a folder of this system, found {text!r}: a path of Windows; write one such as /data/lake"
        )
    if text.startswith("$"):
        raise ValueError(f"expected a folder, found {text!r}: a variable that was not replaced by its value")
    try:
        path = Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError(
            f"expected a folder, found {text!r}: this user has no home folder; write an absolute path"
        ) from None
    except OSError as error:
        raise ValueError(
            f"expected an absolute path, found {text!r}; the working directory cannot be used: {error.strerror}"
        ) from None
    for part in (path, *path.parents):
        try:
            if part.exists():
                if not part.is_dir():
                    raise ValueError(
                        f"expected a folder, found that {part} is a file; name another or move the file away"
                    )
                break
        except OSError as error:  # no permission, a loop of links, a name that is too long
            raise ValueError(f"expected a folder, found that {part} cannot be read: {error.strerror}") from None
    return path


# ---- Postgres -------------------------------------------------------------------------------------------------------

POSTGRES_FORM = "postgresql://user@host:port/database"
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_ESCAPES = "in user and password write @ as %40, / as %2F, # as %23, ? as %3F, % as %25, a blank as %20"


def postgres_url(text: str) -> str:
    """Return a Postgres URL that libpq and SQLAlchemy read in the same way; converts `host=… dbname=…` to this form.

    Several hosts and sockets go to the query: `postgresql://me@/db?host=/run/postgresql`.

    Raises:
        ValueError: another scheme, a driver in it, characters that must be escaped, an invalid port, an option that libpq
            does not have, or no database. The message contains nothing that could be a password.
    """
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"expected {POSTGRES_FORM}, found a control character, such as a line end")
    if re.match(r"[a-z_]+\s*=", text):
        return _from_pairs(text)
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ValueError(f"expected {POSTGRES_FORM}, found a text without ://")
    name, plus, driver = scheme.partition("+")
    if plus and name in ("postgresql", "postgres"):
        raise ValueError(
            f"expected {POSTGRES_FORM}, found a driver for SQLAlchemy; leave out +{driver if driver.isalnum() else '…'}"
        )
    if scheme not in ("postgresql", "postgres"):
        known = re.fullmatch(r"[A-Za-z][A-Za-z0-9+.:\-]{0,30}", scheme)
        raise ValueError(f"expected {POSTGRES_FORM}, found {f'the scheme {scheme!r}' if known else 'another scheme'}")
    return _from_url(rest)


def _from_url(rest: str) -> str:
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    path, _, query = tail.partition("?")
    if authority.count("@") > 1 or "@" in path or re.search(r"\s", rest):
        raise ValueError(f"expected {POSTGRES_FORM}, found a character that must be escaped; {_ESCAPES}")
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    for part in (user, password, path):
        if re.search(r"%(?![0-9A-Fa-f]{2})", part):
            raise ValueError(f"expected {POSTGRES_FORM}, found a % that escapes nothing; {_ESCAPES}")
    values: dict[str, str] = {}
    for option, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
        # JDBC's and asyncpg's names of the same option.
        if option == "ssl":
            option, value = "sslmode", "require" if value.lower() == "true" else value
        values[option] = value
    values |= {key: value for key, value in (("user", unquote(user)), ("password", unquote(password))) if value}
    database = unquote(path.strip("/"))
    if "/" in database:
        raise ValueError(f"expected one database after the host, found {database!r}; {_ESCAPES}")
    if database:
        values["dbname"] = database
    if hosts:
        names, ports = zip(*(_host(part) for part in hosts.split(",")), strict=True)
        values["host"] = ",".join(names)
        if any(ports):
            values["port"] = ",".join(ports)
    return _postgres_form(values)


def _host(text: str) -> tuple[str, str]:
    """Return host and port of one of the hosts; a missing port is empty."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*)(?::(.*))?", text)
    if match is None:
        raise ValueError(
            f"expected {POSTGRES_FORM}, found another form after the @; write an IPv6 address in brackets: [::1]"
        )
    return unquote(match[1].strip("[]")), match[2] or ""


def _from_pairs(text: str) -> str:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        found = conninfo_to_dict(text)
    except psycopg.ProgrammingError:  # its message repeats the text that it could not read
        raise ValueError(
            f"expected {POSTGRES_FORM}, or pairs such as host=… user=… password='…' dbname=…, found pairs that libpq cannot "
            "read; write a value with blanks between single quotes"
        ) from None
    return _postgres_form({key: str(value) for key, value in found.items()})


def _postgres_form(values: dict[str, str]) -> str:
    """Return the URL for libpq's options, after checking them."""
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    for option in values:
        if option not in known:
            raise ValueError(
                f"expected {POSTGRES_FORM}?option=…, found the option {masked(option)[:40]!r}, which libpq does not have"
            )
    for port in (values.get("port") or "").split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"expected a port from 1 to 65535, found another word after the host; {_ESCAPES}")
    if (mode := values.get("sslmode", "prefer")) not in _SSL_MODES:
        raise ValueError(f"sslmode: expected one of {', '.join(_SSL_MODES)}, found {mode[:40]!r}")
    if not values.get("dbname") and not values.get("service"):
        raise ValueError(
            f"expected {POSTGRES_FORM}, found no database; write its name after the host, such as …/crypto_assets"
        )
    rest = dict(values)
    user, password = rest.pop("user", ""), rest.pop("password", "")
    place = ""
    if not re.search(r"[/,@]", rest.get("host", "/")):
        host, port = rest.pop("host"), rest.pop("port", "")
        place = (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
    credentials = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    database = quote(rest.pop("dbname", ""), safe="")
    query = urlencode(rest, quote_via=quote)
    return f"postgresql://{credentials}{'@' if credentials else ''}{place}/{database}" + (f"?{query}" if query else "")


READER = "crypto_assets_reader"
"""The role that may read `market`, the views and `assets` only."""

_PARTS = re.compile(
    r"(?P<scheme>postgres(?:ql)?://)(?:(?P<credentials>[^/?@]*)@)?(?P<hosts>[^/?]*)(?:/(?P<database>[^?]*))?"
)


def database_of(url: str) -> str:
    """Return the name of the database of a Postgres URL."""
    found = _PARTS.match(url)
    return unquote(found["database"] or "") if found else ""


def with_database(url: str, name: str) -> str:
    """Return the Postgres URL of another database of the same server, for the same user, with the same options."""
    return _PARTS.sub(
        lambda of: f"{of['scheme']}{_at(of['credentials'])}{of['hosts']}/{quote(name, safe='')}", url, count=1
    )


def with_user(url: str, name: str) -> str:
    """Return the Postgres URL for another user without a password."""
    return _PARTS.sub(
        lambda of: f"{of['scheme']}{_at(quote(name, safe=''))}{of['hosts']}/{of['database'] or ''}", url, count=1
    )


def _at(credentials: str | None) -> str:
    return f"{credentials}@" if credentials else ""


def postgres_place(url: str) -> str:
    """Return `host:port/database` of a URL of `postgres_url`, for messages."""
    from psycopg.conninfo import conninfo_to_dict

    found: Mapping[str, object] = conninfo_to_dict(url)
    host = str(found.get("host") or "localhost")
    if host.startswith(("/", "@")):
        return f"the socket {host}, database {found.get('dbname', '')}"
    if ":" in host and "," not in host:
        host = f"[{host}]"
    return f"{host}:{found.get('port') or 5432}/{found.get('dbname', '')}"


def postgres_uri(url: str) -> str:
    """Return a URL of `postgres_url` without user, password and options: host, port and database only."""
    from psycopg.conninfo import conninfo_to_dict

    found: Mapping[str, object] = conninfo_to_dict(url)
    host = str(found.get("host") or "localhost")
    if host.startswith(("/", "@")):
        return f"postgresql:///{found.get('dbname', '')}?host={quote(host)}"
    return f"postgresql://{postgres_place(url)}"

"""Every exception that crypto_assets raises.

    CryptoAssetsError
    ├── NothingCollected             a command that only reads found no database here, and created none
    ├── Stopped                      the run was cancelled or is shutting down; what is stored stays
    ├── ConfigError                  collection.yaml, a URL or an argument is wrong; exit code 2
    │   └── OtherVersion             the database, the lake or Dagster's tables are of a version unknown to this one
    ├── TransientError               trying again later can help
    │   ├── HostUnreachable          no connection, no answer, or a cut connection
    │   ├── CircuitOpen              the host has failed too often; no requests until a probe succeeds
    │   ├── NotPublished             the exchange answers 404; the file may appear later
    │   ├── ChecksumMismatch         bytes differ from the published checksum
    │   ├── StoreUnavailable         one of our own stores fails: Postgres with Dagster's events, or the lake
    │   │   ├── PostgresUnavailable  the database does not answer or could not be started
    │   │   └── LakeUnavailable      the bucket of the lake does not answer, or says "not now"
    │   └── OutOfResources           this process is out of memory, files, threads or disk space; no fault of file or host
    └── PermanentError               trying again gives the same result; a person or a new file is needed
        ├── ListingError             the listing is not what the exchange documents (HTML, cut XML)
        ├── MalformedFile            the bytes of an archive object do not match its name
        │   ├── BadContainer         not a zip, cut, empty, several members, another name, too large
        │   ├── BadContent           columns, text or times that the dataset cannot have
        │   │   └── NoRows           empty, or only a header
        │   └── SourceFault          the code of the source failed on it: our fault, and only this file is affected
        ├── InvalidRows              parsed, but rows break the schema, the key, the order or the day
        ├── StoredDataError          a file in the lake is missing or differs from the ledger
        │   └── UnsafePath           a text that should name a file of the lake leads elsewhere; it was not used
        └── IncompleteData           some requested days are missing, partial or not collected yet

    IncompleteDataWarning            the same as a warning

Transient and permanent are different types: one place decides about retries. A message says what was expected, what was
found and what to do; `evidence` has the same for programs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crypto_assets.text.urls import masked, masked_in
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.model.content import Content


class CryptoAssetsError(Exception):
    """Base of all errors of this package; `evidence` is JSON-serialisable detail for the ledger and the UI.

    A message is one line, or a sequence of lines. A line end inside a line is shown as `\\n`: it is part of text from
    outside.
    """

    def __init__(self, message: str | Sequence[str], **evidence: Any) -> None:
        # All messages pass here: no password of a URL and no terminal code reaches a log, ledger, event or terminal.
        lines = (message,) if isinstance(message, str) else message
        super().__init__("\n".join(visible(masked(line.rstrip())) for line in lines))
        self.evidence: dict[str, Any] = masked_in(evidence)


class ConfigError(CryptoAssetsError):
    """The configuration or an argument is wrong; nothing was started. Exit code 2.

    `explained`: the message is complete. If the error may be a fault of this package it is False, and the traceback is
    kept.
    """

    explained = True


class NothingCollected(CryptoAssetsError):
    """A command that only reads found nothing, and created nothing. The message says where it looked."""


class UnknownSymbol(ConfigError):
    """The exchange's archive does not list this symbol for this market type and dataset."""


class OtherVersion(ConfigError):
    """The database, the lake or Dagster's tables are of another version; the message gives both versions and what to do."""


class Stopped(CryptoAssetsError):
    """The run was cancelled or the process is shutting down; days that were not stored keep their former state."""


class TransientError(CryptoAssetsError):
    """Trying again later can help."""


CHECK_NETWORK = "check the network and the URLs in collection.yaml, then `crypto-assets fill`"
"""What to do about a host that does not answer."""


class HostUnreachable(TransientError):
    """No connection, no answer in time, or a connection that was cut."""


class HostRefused(TransientError):
    """An answer that says "not now"; `status` is the HTTP status, `retry_after_s` the requested wait or None."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None, **evidence: Any) -> None:
        super().__init__(message, status=status, **evidence)
        self.status = status
        self.retry_after_s = retry_after_s


class CircuitOpen(TransientError):
    """The circuit breaker of an exchange and endpoint class is open; `retry_at` is the time of the next probe."""


HOST_PROBLEMS = tuple(kind.__name__ for kind in (HostUnreachable, HostRefused, CircuitOpen))
"""Names, as in evidence, of errors that only say that a host does not answer now, nothing about the requested data."""


class NotPublished(TransientError):
    """The exchange answers 404: the file does not exist yet, or no longer."""


class ChecksumMismatch(TransientError):
    """The bytes differ from the published checksum; exchanges update the two at different times: a later try may succeed.

    `content` has the refused bytes for quarantine/.
    """

    content: Content = b""


class StoreUnavailable(TransientError):
    """One of our own stores fails; data stored before stays.

    `passing`: it may be over in a moment, and `storage/patience.py` waits. After that wait it is False.
    """

    def __init__(self, message: str | Sequence[str], *, passing: bool = False, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.passing = passing


class PostgresUnavailable(StoreUnavailable):
    """The database does not answer, or the embedded one could not be started."""


class LakeUnavailable(StoreUnavailable):
    """The lake's bucket does not answer, or refuses for now; `status` is the HTTP status, None without an answer."""

    def __init__(
        self, message: str | Sequence[str], *, status: int | None = None, passing: bool = False, **evidence: Any
    ) -> None:
        super().__init__(message, passing=passing, **evidence)
        self.status = status


class OutOfResources(TransientError):
    """This process or machine is out of memory, open files, threads or disk space; no file or host is to blame.

    The evidence has the `resource`. `shortage.py` decides which errors are this one.
    """


OF_THIS_PROCESS = (Stopped, OutOfResources, StoreUnavailable)
"""An `except` that turns errors into a judgement must re-raise these: they say nothing about what is judged."""


class PermanentError(CryptoAssetsError):
    """Trying again gives the same result; a person or a new file is needed."""


class ListingError(PermanentError):
    """The answer to a listing request is not the XML that the exchange documents."""


class MalformedFile(PermanentError):
    """The bytes of an archive object do not match its name."""


class BadContainer(MalformedFile):
    """Not a zip, cut, empty, with several members or one of another name, or too large when unpacked."""


class BadContent(MalformedFile):
    """Columns, text or times that the dataset cannot have."""


class NoRows(BadContent):
    """A file without any row: correct if nothing should be in it, which the file alone does not show."""


class SourceFault(MalformedFile):
    """The code of a source failed on a file or an answer; it says nothing about the bytes, and nothing else is affected."""


class InvalidRows(PermanentError):
    """The file parses, but its rows break the schema, the key, the order or the bounds of the day."""


class StoredDataError(PermanentError):
    """A file in the lake is missing or differs from the ledger."""


class UnsafePath(StoredDataError):
    """A text that should name a file of the lake names something else, or a link in its path leads elsewhere."""


class IncompleteData(PermanentError):
    """Some requested days are missing, partial or not collected yet; `coverage` describes each.

    It has a mapping for each day: `day`, `state`, `reason`, `rows`, `until`, `acknowledged`, `complete`; JSON-serialisable.
    """

    def __init__(self, message: str | Sequence[str], coverage: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(message)
        self.coverage = coverage


class IncompleteDataWarning(UserWarning):
    """Rows were returned although some requested days are incomplete, or no day has rows."""


class OtherOriginWarning(UserWarning):
    """Stored days came from another archive than collection.yaml names, such as the sandbox exchange."""


REFUSALS = tuple(
    kind.__name__
    for kind in (ChecksumMismatch, MalformedFile, BadContainer, BadContent, NoRows, SourceFault, InvalidRows)
)
"""Names, as in evidence, of errors of a file that exists and cannot be used."""

BAD_FILES = tuple(name for name in REFUSALS if name != SourceFault.__name__)
"""Those that the file is to blame for; a SourceFault is ours."""

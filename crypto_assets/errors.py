"""Every exception that crypto_assets raises.

    CryptoAssetsError
    ├── NothingCollected             a command that only looks found no database here, and made none
    ├── Stopped                      the run was cancelled or is shutting down; what is stored stays
    ├── ConfigError                  collection.yaml, a URL or an argument is wrong; exit code 2
    │   ├── UnknownSymbol            the exchange's archive does not list this symbol
    │   └── OtherVersion             the database, the lake or Dagster's tables are of a version that this one does not know
    ├── TransientError               trying again later can help
    │   ├── HostUnreachable          no connection, no answer, or a cut connection
    │   ├── HostRefused              an answer that says "not now" (403, 418, 429, 5xx), with its status
    │   ├── CircuitOpen              the host has failed too often; nobody asks it until a probe succeeds
    │   ├── NotPublished             the exchange answers 404; the file may appear later
    │   ├── ChecksumMismatch         bytes differ from the published checksum
    │   ├── StoreUnavailable         one of our own stores fails: Postgres with Dagster's events, or the lake
    │   │   ├── PostgresUnavailable  the database does not answer or could not be started
    │   │   └── LakeUnavailable      the bucket of the lake does not answer, or says "not now"
    │   └── OutOfResources           this process has no memory, open file, thread or room left; it blames no file and no host
    └── PermanentError               trying again gives the same; a person or a new file is needed
        ├── ListingError             the listing is not what the exchange documents (HTML, cut XML)
        ├── MalformedFile            an archive object whose bytes are not what its name promises
        │   ├── BadContainer         not a zip, cut, empty, several members, another name, too large
        │   └── BadContent           columns, text or times that the dataset cannot have
        │       └── NoRows           nothing, or a header alone
        ├── InvalidRows              parsed, but rows break the schema, the key, the order or the day
        ├── StoredDataError          a file in the lake is missing or is not what the ledger says
        │   └── UnsafePath           a text that should name a file of the lake leads elsewhere; nothing was done with it
        └── IncompleteData           rows were asked for of days that are missing, partial or not collected yet

    IncompleteDataWarning            the same, where it is not to be an error

Transient and permanent are different types so that one place can decide about trying again. A message says what was
expected, what was found and what to do; `evidence` carries the same for programs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crypto_assets.text.urls import masked, masked_in
from crypto_assets.text.visible import visible


class CryptoAssetsError(Exception):
    """Base of all errors of this package; `evidence` is JSON-serialisable detail for the ledger and the UI.

    A message is one line, or a sequence of lines. A line end inside of a line is shown as `\\n`: it came with the text of
    somebody else.
    """

    def __init__(self, message: str | Sequence[str], **evidence: Any) -> None:
        # The one place that all messages pass: a URL's password and terminal codes go into no log, ledger, event or terminal.
        lines = (message,) if isinstance(message, str) else message
        super().__init__("\n".join(visible(masked(line.rstrip())) for line in lines))
        self.evidence: dict[str, Any] = masked_in(evidence)


class ConfigError(CryptoAssetsError):
    """The configuration or an argument is wrong; nothing was started. Exit code 2.

    `explained` says that the message is all there is to know; where it may be a mistake of ours it says False, and the
    traceback is kept.
    """

    explained = True


class NothingCollected(CryptoAssetsError):
    """A command that only looks found nothing where it looked, and made nothing. The message says where that is."""


class UnknownSymbol(ConfigError):
    """The exchange's archive does not list this symbol for this market type and dataset."""


class OtherVersion(ConfigError):
    """The database, the lake or Dagster's tables are not those of this version; the message names both and what to do."""


class Stopped(CryptoAssetsError):
    """The run was cancelled or the process is shutting down; days that were not stored keep their former state."""


class TransientError(CryptoAssetsError):
    """Trying again later can help."""


CHECK_NETWORK = "check the network and the URLs in collection.yaml, then `crypto-assets fill`"
"""What to do about a host that gives no answer."""


class HostUnreachable(TransientError):
    """No connection, no answer in time, or a connection that was cut."""


class HostRefused(TransientError):
    """An answer that says "not now"; `status` is the HTTP status, `retry_after_s` the exchange's own wish or None."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None, **evidence: Any) -> None:
        super().__init__(message, status=status, **evidence)
        self.status = status
        self.retry_after_s = retry_after_s


class CircuitOpen(TransientError):
    """The circuit breaker of an exchange and endpoint class is open; `retry_at` says when it will be probed."""


HOST_PROBLEMS = tuple(kind.__name__ for kind in (HostUnreachable, HostRefused, CircuitOpen))
"""The errors that say nothing of what was asked for, only that a host does not answer now, as evidence names them."""


class NotPublished(TransientError):
    """The exchange answers 404: the file does not exist yet, or no longer."""


class ChecksumMismatch(TransientError):
    """The bytes differ from the published checksum; exchanges refresh one before the other, so later may be right.

    `content` holds the refused bytes on their way to quarantine/.
    """

    content: bytes = b""


class StoreUnavailable(TransientError):
    """One of our own stores fails; what was stored before stays.

    `passing` says that it may be over in a moment: `storage/patience.py` waits then. Once it has waited, it says False.
    """

    def __init__(self, message: str | Sequence[str], *, passing: bool = False, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.passing = passing


class PostgresUnavailable(StoreUnavailable):
    """The database does not answer, or the embedded one could not be started."""


class LakeUnavailable(StoreUnavailable):
    """The bucket of the lake does not answer, or refuses for now; `status` is the HTTP status, None without an answer."""

    def __init__(
        self, message: str | Sequence[str], *, status: int | None = None, passing: bool = False, **evidence: Any
    ) -> None:
        super().__init__(message, passing=passing, **evidence)
        self.status = status


class OutOfResources(TransientError):
    """This process or machine has no memory, open file, thread or room left; it says nothing of what was at hand.

    The evidence names the `resource`. `shortage.py` decides which errors are this one.
    """


OF_THIS_PROCESS = (Stopped, OutOfResources, StoreUnavailable)
"""What an `except` that makes an error the answer to a question passes on: it says nothing of what was asked."""


class PermanentError(CryptoAssetsError):
    """Trying again gives the same; a person or a new file is needed."""


class ListingError(PermanentError):
    """The answer to a listing request is not the XML that the exchange documents."""


class MalformedFile(PermanentError):
    """An archive object whose bytes are not what its name promises."""


class BadContainer(MalformedFile):
    """Not a zip, cut, empty, with several members or one of another name, or too large when unpacked."""


class BadContent(MalformedFile):
    """Columns, text or times that the dataset cannot have."""


class NoRows(BadContent):
    """A file without any row: right where nothing should be in it, which the file alone does not say."""


class InvalidRows(PermanentError):
    """The file parses, but its rows break the schema, the key, the order or the bounds of the day."""


class StoredDataError(PermanentError):
    """A file in the lake is missing or is not what the ledger says was stored."""


class UnsafePath(StoredDataError):
    """A text that should name a file of the lake names something else, or a link there leads elsewhere."""


class IncompleteData(PermanentError):
    """Some of the days that were asked for are missing, partial or not collected yet; `coverage` says what is known of each.

    It has a mapping for each day: `day`, `state`, `reason`, `rows`, `until`, `acknowledged`, `complete`; JSON-serialisable.
    """

    def __init__(self, message: str | Sequence[str], coverage: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(message)
        self.coverage = coverage


class IncompleteDataWarning(UserWarning):
    """Rows were given although some of the days asked for are not complete, or no day has rows."""


REFUSALS = tuple(
    kind.__name__ for kind in (ChecksumMismatch, MalformedFile, BadContainer, BadContent, NoRows, InvalidRows)
)
"""The errors of a file that is there and cannot be used, as the evidence of an outcome names them."""

"""Read the environment. No other module reads it. Every variable is checked before anything is done.

`settings` checks the values; `settings_at_start` also checks the file of the collection. Both raise ConfigError with one
line: the variable's name, what was expected and what was found; a password or key is never shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from crypto_assets.config.api_keys import API_KEY_VARIABLE, api_key_variables, api_keys, is_api_key
from crypto_assets.config.loopback import direct_to_loopback
from crypto_assets.config.project_folder import COLLECTION, project_folder, working_directory
from crypto_assets.errors import ConfigError
from crypto_assets.text import urls
from crypto_assets.text.urls import folder, http_url

PREFIX = "CRYPTO_ASSETS_"

DEMO_MARK = "DEMO"
"""A file in a home with the data of `crypto-assets demo`; it contains the demo's collection.yaml."""

_given_home: ContextVar[Path | None] = ContextVar("given_home", default=None)
"""The home given by a caller, for its call."""

OF_TESTS = ("CRYPTO_ASSETS_REALDATA", "CRYPTO_ASSETS_SCREENSHOT")
"""Variables of the project's own tests, without other effects."""

_SECRETS = ("POSTGRES_URL",)

# Kubernetes sets these in every container next to a service `crypto-assets`; nobody typed them.
_OF_KUBERNETES = re.compile(r"CRYPTO_ASSETS_(\w+_)?(SERVICE_(HOST|PORT)|PORT)(_\w+)?")

_NEARLY_OURS = re.compile(r"CRYPTO_?ASSETS?_?")

Folder = Annotated[Path, AfterValidator(lambda path: folder(str(path)))]


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("expected printable characters, found a control character")
    return value


class Settings(BaseModel):
    """Settings from the environment. Variables are prefixed `CRYPTO_ASSETS_`; boto3 itself reads the usual `AWS_*`."""

    _named: frozenset[str] = PrivateAttr(default=frozenset())
    """Fields set by the environment or a caller."""
    _api_keys: Mapping[str, str] = PrivateAttr(default={})
    """By source; no field, so that it is in no text of the settings."""

    model_config = ConfigDict(extra="ignore", validate_default=True)

    postgres_url: Annotated[str, AfterValidator(urls.postgres_url)] | None = Field(
        default=None,
        repr=False,
        description="`postgresql://user:password@host:port/database`; unset: an embedded server under `{home}/postgres`",
    )
    lake_url: Annotated[str, AfterValidator(urls.lake_url)] | None = Field(
        default=None,
        description="a folder, `file:///folder` or `s3://bucket/prefix`; other schemes (`gs://`, `s3a://`) are refused; "
        "unset: `{home}/lake`",
    )
    home: Folder = Field(
        default_factory=lambda: project_folder().home,
        validate_default=True,
        description="the folder for everything local; unset: the nearest `.crypto_assets`, from the working directory up",
    )
    config: Path = Field(
        default=Path("collection.yaml"),
        description="the collection to work on; unset: the one beside the home, else that of the project found",
    )
    postgres_durable: bool = Field(
        default=True, description="false: the embedded server may lose data when the power fails"
    )
    downloads: int = Field(
        default=12, ge=1, le=64, description="downloads at the same time in a run, fewer while a host fails"
    )
    egress: Annotated[str, AfterValidator(_text)] = Field(
        default="default",
        max_length=200,
        description="a name for the address under which exchanges see this machine: limits, cool-downs and circuit breakers "
        "are counted for each name. Machines behind one gateway share a name",
    )
    pause_after: int = Field(
        default=20,
        ge=0,
        description="a run is paused after this many days in a row failed because their host does not answer or refuses; "
        "0: never",
    )
    patience_s: float = Field(
        default=3600,
        ge=0,
        le=31_536_000,
        allow_inf_nan=False,
        description="seconds that such a run waits for its host, trying one day from time to time, before it gives up; "
        "a run of the command line gives up at once",
    )
    store_patience_s: float = Field(
        default=60,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="seconds to wait for our own Postgres or bucket if it fails for a moment (a restart, a cut connection, "
        "no free connection, a 5xx), before a command ends with one line",
    )
    patrol_days: int = Field(
        default=7, ge=1, le=3650, description="days in which a sensor reads every listing once completely"
    )
    automation: bool = Field(
        default=False,
        description="true: what `automation` of collection.yaml switches on runs from the start; `crypto-assets up` sets it",
    )
    ui_users: Annotated[str, AfterValidator(_text)] = Field(
        default="",
        max_length=1000,
        description="accounts of this machine, separated by commas, that may use UI and API in addition to "
        "the user who runs them and root; `*`: all, which `--host 0.0.0.0` requires. For a proxy on this machine: the "
        "account it runs under. Linux only; elsewhere all may",
    )

    def model_post_init(self, _: Any) -> None:
        """Set the default place of the collection, and make its path absolute."""
        self._named = frozenset(self.model_fields_set)
        if "config" not in self._named:
            self.config = self._collection_of_home()
        try:
            config = self.config.expanduser()
        except RuntimeError:
            raise ConfigError(
                f"environment variable {PREFIX}CONFIG: this user has no home folder, found {str(self.config)!r}"
            ) from None
        self.config = config if config.is_absolute() else working_directory() / config

    def _collection_of_home(self) -> Path:
        """Return the collection of the home that is used: in it for the demo, otherwise beside it.

        If a named home has none, it is that of the project found from the working directory.
        """
        if "home" not in self._named:
            return project_folder().collection
        if self.is_demo:
            return self.home / COLLECTION
        beside = self.home.parent / COLLECTION
        if is_file(beside):
            return beside
        try:
            return project_folder().collection
        except ConfigError:
            return beside

    @property
    def home_found(self) -> str:
        """How the home was found: by an argument, the environment, or going up from the working directory."""
        if _given_home.get() is not None:
            return "the argument home"
        return f"{PREFIX}HOME" if "home" in self._named else project_folder().how

    @property
    def is_demo(self) -> bool:
        """Whether the home is a demo's: its data is synthetic, and nothing real may be collected into it."""
        return is_file(self.home / DEMO_MARK)

    @property
    def home_in_words(self) -> str:
        """The home, and how it was found."""
        return f"home {self.home}, {self.home_found}"

    @property
    def project_lines(self) -> list[str]:
        """Lines about the project's place: it is above the working directory, or another account's was skipped."""
        if {"home", "config"} <= self._named:
            return []
        if "home" in self._named and ("config" in self._named or self.config.parent in (self.home, self.home.parent)):
            return []
        project = project_folder()
        used = [f"home {self.home}"] if "home" not in self._named else []
        used += [f"collection {self.config}"] if "config" not in self._named else []
        above = [f"project {project.path}, found above {project.start}: {', '.join(used)}"] if project.is_above else []
        return [*project.passed_over, *above]

    def api_key(self, source: str) -> str | None:
        """Return the key for a source's REST API, if there is one."""
        return self._api_keys.get(source)

    @property
    def lake(self) -> str:
        """The URL of the lake: a folder's absolute path, or s3://bucket/prefix."""
        return str(self.home / "lake") if self.lake_url is None else self.lake_url


def settings() -> Settings:
    """Return the present settings.

    Raises:
        ConfigError: an unknown variable `CRYPTO_ASSETS_*`, or an invalid value; one line with its name.
    """
    _check_names_and_quotes(os.environ)
    ours = {name.upper(): value for name, value in os.environ.items() if value}
    given: dict[str, Any] = {
        name.removeprefix(PREFIX).lower(): value for name, value in ours.items() if name.startswith(PREFIX)
    }
    if (home := _given_home.get()) is not None:
        given["home"] = home
        if is_file(home / DEMO_MARK):
            # The demo has both stores in its home, whatever the environment names for real data.
            given |= {"postgres_url": None, "lake_url": None, "config": home / COLLECTION}
    try:
        # Not pydantic-settings: it takes 0.06 CPU seconds to import, and 3 ms for each look.
        found = Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper()
        message = first["msg"].removeprefix("Value error, ")
        if not first["type"].startswith("value_error") and name not in _SECRETS:
            message = f"{message}, found {first.get('input')!r}"
        raise ConfigError(f"environment variable {PREFIX}{name}: {message}") from None
    found._api_keys = api_keys(os.environ)
    if found.lake.startswith("s3://"):
        _check_s3(os.environ)
    return found


@contextmanager
def at_home(home: str | Path | None) -> Iterator[None]:
    """Use the settings of another home within the block; None: as in the environment.

    Raises:
        ConfigError: it is not a folder.
    """
    if home is None:
        yield
        return
    if not isinstance(home, str | Path):
        raise ConfigError(f"home: expected the path of a folder, found {home!r}")
    try:
        place = folder(str(home))
    except ValueError as error:
        raise ConfigError(f"home: {error}") from None
    if not os.path.isdir(place):  # noqa: PTH112  Path.is_dir raises where a folder cannot be entered
        raise ConfigError(f"home: expected the folder that `crypto-assets` made, found that {place} does not exist")
    before = _given_home.set(place)
    try:
        yield
    finally:
        _given_home.reset(before)


def settings_at_start() -> Settings:
    """Return the settings for a starting process; raises ConfigError also if the named collection is not a file."""
    found = settings()
    if os.environ.get(f"{PREFIX}CONFIG"):
        require_file(found.config)
    return found


def is_file(path: Path) -> bool:
    """Return whether a path is a file that can be seen; False, not an error, where a folder above cannot be entered."""
    return os.path.isfile(path)  # noqa: PTH113


def require_file(path: Path) -> None:
    """Raise ConfigError if the collection named by CRYPTO_ASSETS_CONFIG or --config does not exist or is a folder."""
    try:
        path.lstat()
    except PermissionError:
        raise ConfigError(
            f"{path}: cannot be read: a folder above it cannot be entered; name a readable file with --config or "
            "CRYPTO_ASSETS_CONFIG"
        ) from None
    except OSError:
        pass
    if path.is_dir():
        raise ConfigError(
            f"{path}: cannot be read: it is a directory; name the file, such as {path / 'collection.yaml'}, with --config or "
            "CRYPTO_ASSETS_CONFIG"
        )
    if not path.exists():
        raise ConfigError(
            f"{path}: no such file; `crypto-assets init` writes one, or name another with CRYPTO_ASSETS_CONFIG"
        )


def _check_names_and_quotes(variables: Mapping[str, str]) -> None:
    known = [*(PREFIX + name.upper() for name in Settings.model_fields), *OF_TESTS]
    in_kubernetes = "KUBERNETES_SERVICE_HOST" in variables
    for name, value in variables.items():
        if not name.upper().startswith(PREFIX):
            if (meant := _NEARLY_OURS.sub(PREFIX, name.upper(), count=1)) in known or is_api_key(meant):
                raise ConfigError(f"environment variable {name}: unknown; did you mean {meant}?")
            continue
        if name.upper() not in known and not is_api_key(name):
            if in_kubernetes and _OF_KUBERNETES.fullmatch(name):
                continue
            ours = [PREFIX + field.upper() for field in Settings.model_fields]
            names = {one.removeprefix(PREFIX): one for one in (*ours, *api_key_variables())}
            close = get_close_matches(name.upper().removeprefix(PREFIX), names, n=1, cutoff=0.5)
            hint = f"did you mean {names[close[0]]}?" if close else f"known: {', '.join([*ours, API_KEY_VARIABLE])}"
            raise ConfigError(f"environment variable {name}: unknown; {hint}")
        if value != value.strip():
            raise ConfigError(
                f"environment variable {name}: expected no blanks and line ends around the value; remove them"
            )
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            raise ConfigError(f"environment variable {name}: expected a value without quotes around it; remove them")


def _check_s3(variables: Mapping[str, str]) -> None:
    """Check the variables that boto3 reads, as far as wrong values can be recognised."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if value := variables.get(name):
            _checked(name, value, http_url)
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        if value := variables.get(name):
            _checked(name, value, _file)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if value := variables.get(name):
            _checked(name, value, _region)


def _region(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,63}", text):
        raise ValueError(f"expected a region such as eu-central-1, found {text!r}")
    return text


def _file(text: str) -> str:
    if not Path(text).exists():
        raise ValueError(f"expected a file with certificates, found that {text} does not exist; correct or unset it")
    return text


def check_certificates() -> None:
    """Raise ConfigError if a variable names certificates that do not exist; httpx would end with a traceback."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if value := os.environ.get(name):
            _checked(name, value, _file)


def _checked(name: str, value: str, check: Callable[[str], str]) -> None:
    try:
        check(value)
    except ValueError as error:
        raise ConfigError(f"environment variable {name}: {error}") from None


def environment() -> dict[str, str]:
    """Return a copy of the environment for a child process; paths are absolute, whatever its working folder."""
    now = settings()
    found = dict(os.environ) | {"CRYPTO_ASSETS_HOME": str(now.home), "CRYPTO_ASSETS_CONFIG": str(now.config)}
    if now.lake_url is not None:
        found["CRYPTO_ASSETS_LAKE_URL"] = now.lake
    return found | direct_to_loopback(found)

"""Keys for the APIs of sources, from the environment: `CRYPTO_ASSETS_<SOURCE>_API_KEY`, for any source by its name.

The sources are imported only if such a variable is set: most commands import them anyway, `--help` does not.
"""

from __future__ import annotations

from collections.abc import Mapping

from crypto_assets.errors import ConfigError

API_KEY_VARIABLE = "CRYPTO_ASSETS_<SOURCE>_API_KEY"

API_KEY_MEANING = (
    "a key without any permission, for data that the REST API of a source gives only with a key, such as "
    "`CRYPTO_ASSETS_BINANCE_API_KEY` for old futures trades. Never shown. Unset: not sent"
)


def api_key_variables() -> dict[str, str]:
    """Return the variable of each source, with the source's name."""
    from crypto_assets import sources

    return {API_KEY_VARIABLE.replace("<SOURCE>", name.upper()): name for name in sources.names()}


def is_api_key(variable: str) -> bool:
    """Return whether a variable is for the key of a source that there is; either case."""
    start, _, end = API_KEY_VARIABLE.partition("<SOURCE>")
    name = variable.upper()
    return name.startswith(start) and name.endswith(end) and name in api_key_variables()


def api_keys(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that the environment has, by source; an empty variable counts as unset.

    Raises:
        ConfigError: a value that cannot be a header of a request; it is not shown.
    """
    found = {name: value for name, value in variables.items() if value and is_api_key(name)}
    for name, value in found.items():
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ConfigError(
                f"environment variable {name}: expected a key of letters and digits, found other characters"
            )
    return {api_key_variables()[name.upper()]: value for name, value in found.items()}

"""Find the folder of dagster.yaml and set DAGSTER_HOME for this process and its children. Does not import Dagster."""

from __future__ import annotations

import os
from pathlib import Path

from crypto_assets.config.environment import is_file
from crypto_assets.config.project_folder import project_folder, working_directory
from crypto_assets.config.yaml_file import load_yaml
from crypto_assets.errors import ConfigError
from crypto_assets.machine.shortage import raise_if_ours


def use_dagster_home() -> Path:
    """Return the folder with dagster.yaml, and set DAGSTER_HOME to it for this process and its children.

    Raises:
        ConfigError: DAGSTER_HOME is unset and the project's folder has no dagster.yaml, or an invalid one.
    """
    named = os.environ.get("DAGSTER_HOME")
    home = Path(named) if named else project_folder().path
    if not home.is_absolute():
        home = working_directory() / home
    if not is_file(home / "dagster.yaml"):
        raise ConfigError(
            f"{home}: expected a dagster.yaml there, found none; `crypto-assets init` writes one, "
            "or go to the folder of your project, or set DAGSTER_HOME to it"
        )
    _require_yaml(home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def _require_yaml(file: Path) -> None:
    """Check a file before Dagster reads it without bounds."""
    import yaml

    try:
        found = load_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise_if_ours(error)
        raise ConfigError(f"{file}: expected readable text, found: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file}: expected YAML, found: {' '.join(str(error).split())[:300]}") from None
    if not (found is None or isinstance(found, dict)):
        raise ConfigError(f"{file}: expected names with values, found {type(found).__name__}; see the project's own")

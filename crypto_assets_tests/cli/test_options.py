"""An option that is given twice and taken once is refused: click would take the last in silence."""

import pytest
from click.testing import CliRunner

from crypto_assets.cli.commands.collect import collect


@pytest.mark.parametrize("option", ["--exchange", "--market-type"])
def test_one_exchange_is_one(option: str):
    done = CliRunner().invoke(collect, [option, "spot", option, "linear", "--to", "2024-01-01"])
    assert done.exit_code == 2
    assert "expected one, found spot, linear; run the command for each" in done.output

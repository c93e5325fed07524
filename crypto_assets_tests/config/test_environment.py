"""Variables of the environment: each is checked at start, by every way in; what cannot be used is named, in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import crypto_assets
from crypto_assets import sources
from crypto_assets.config.environment import (
    environment,
    settings,
    settings_at_start,
)
from crypto_assets.config.home_folders import require_places
from crypto_assets.config.loopback import direct_to_loopback
from crypto_assets.defs.resources import CollectorResource, LakeResource, PostgresResource
from crypto_assets.errors import ConfigError
from crypto_assets_tests.command import PROJECT, Command, no_traceback


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No variable of ours is set, and the working folder is empty."""
    for name in list(os.environ):
        if name.upper().startswith(("CRYPTO_ASSETS_", "AWS_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal() -> str:
    with pytest.raises(ConfigError) as caught:
        settings_at_start()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CRYPTO_ASSETS_DOWNLOAD", "3", "unknown; did you mean CRYPTO_ASSETS_DOWNLOADS?"),
        ("crypto_assets_lake", "x", "unknown; did you mean CRYPTO_ASSETS_LAKE_URL?"),
        ("CRYPTO_ASSET_LAKE_URL", "x", "unknown; did you mean CRYPTO_ASSETS_LAKE_URL?"),
        ("CryptoAssets_Home", "x", "unknown; did you mean CRYPTO_ASSETS_HOME?"),
        ("CRYPTO_ASSETS_LAKE_URL", "C:\\lake", "found 'C:\\\\lake': a path of Windows"),
        ("CRYPTO_ASSETS_HOME", "d:/lake", "a path of Windows"),
        ("CRYPTO_ASSETS_XYZZY", "x", "unknown; known: CRYPTO_ASSETS_POSTGRES_URL, "),
        ("CRYPTO_ASSETS_PORT", "tcp://10.0.0.1:80", "unknown;"),
        ("CRYPTO_ASSETS_HOME", " /tmp", "expected no blanks and line ends around the value"),
        ("CRYPTO_ASSETS_HOME", "   ", "expected no blanks"),
        ("CRYPTO_ASSETS_LAKE_URL", "s3://bucket/lake\n", "expected no blanks and line ends"),
        ("CRYPTO_ASSETS_LAKE_URL", '"s3://bucket/lake"', "expected a value without quotes around it"),
        ("CRYPTO_ASSETS_LAKE_URL", "gs://bucket/lake", "found the scheme 'gs'"),
        ("CRYPTO_ASSETS_LAKE_URL", __file__, "is a file"),
        ("CRYPTO_ASSETS_HOME", __file__, "is a file"),
        ("CRYPTO_ASSETS_HOME", f"{__file__}/home", "is a file"),
        ("CRYPTO_ASSETS_HOME", "s3://bucket/home", "found a URL with the scheme 's3'"),
        ("CRYPTO_ASSETS_HOME", "~nobody-of-that-name/home", "no home folder"),
        ("CRYPTO_ASSETS_CONFIG", "~nobody-of-that-name/c.yaml", "no home folder"),
        ("CRYPTO_ASSETS_POSTGRES_URL", "postgresql+psycopg2://me:hunter2@h/x", "leave out +psycopg2"),
        ("CRYPTO_ASSETS_POSTGRES_URL", "'postgresql://me:hunter2@h/x'", "without quotes"),
        ("CRYPTO_ASSETS_DOWNLOADS", "1.5", "found '1.5'"),
        ("CRYPTO_ASSETS_PAUSE_AFTER", "-1", "found '-1'"),
        ("CRYPTO_ASSETS_PATIENCE_S", "nan", "found 'nan'"),
        ("CRYPTO_ASSETS_PATIENCE_S", "inf", "found 'inf'"),
        ("CRYPTO_ASSETS_PATIENCE_S", "1e300", "found '1e300'"),
        ("CRYPTO_ASSETS_PATROL_DAYS", "9999999", "found '9999999'"),
        ("CRYPTO_ASSETS_EGRESS", "a\x1bb", "found a control character"),
        ("CRYPTO_ASSETS_BINANCE_API_KEY", "hunter2 hunter2", "expected a key of letters and digits"),
        ("CRYPTO_ASSETS_BINANCE_API_KEY", "hunter2ключ", "expected a key of letters and digits"),
        ("CRYPTO_ASSETS_KRAKEN_API_KEY", "hunter2\x07", "expected a key of letters and digits"),
        ("CRYPTO_ASSETS_KRAKEN_API_KEY", "'hunter2'", "without quotes"),
        ("CRYPTO_ASSETS_KRAKN_API_KEY", "hunter2", "unknown; did you mean CRYPTO_ASSETS_KRAKEN_API_KEY?"),
        ("CRYPTO_ASSET_OKX_API_KEY", "hunter2", "unknown; did you mean CRYPTO_ASSETS_OKX_API_KEY?"),
        ("CRYPTO_ASSETS_XYZZY", "hunter2", "CRYPTO_ASSETS_UI_USERS, CRYPTO_ASSETS_<SOURCE>_API_KEY"),
    ],
)
def test_a_variable_that_cannot_be_used_is_refused_by_its_name(monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    message = refusal()
    assert message.startswith(f"environment variable {name}: ")
    assert says in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AWS_ENDPOINT_URL", "minio:9000", "expected a URL that starts with http:// or https://"),
        ("AWS_ENDPOINT_URL_S3", "http://minio:port", "expected a URL with a host"),
        ("AWS_CA_BUNDLE", "/none.pem", "found that /none.pem does not exist"),
        ("AWS_REGION", "eu central", "expected a region such as eu-central-1"),
    ],
)
def test_what_boto3_will_read_is_checked_where_the_lake_is_a_bucket(monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    settings_at_start()
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", "s3://bucket/lake")
    message = refusal()
    assert message.startswith(f"environment variable {name}: ")
    assert says in message


def test_what_kubernetes_says_of_a_service_of_this_name_is_no_mistake(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    for name in ("PORT", "SERVICE_HOST", "SERVICE_PORT", "PORT_3000_TCP_ADDR", "UI_SERVICE_PORT_HTTP"):
        monkeypatch.setenv(f"CRYPTO_ASSETS_{name}", "x")
    assert settings().downloads == 12


def test_variables_of_the_tests_are_known(monkeypatch):
    monkeypatch.setenv("CRYPTO_ASSETS_REALDATA", "x")
    monkeypatch.setenv("CRYPTO_ASSETS_SCREENSHOT", "x")
    assert settings().downloads == 12


def test_a_collection_that_is_named_must_be_a_file(monkeypatch, tmp_path):
    assert settings_at_start().config == tmp_path / "collection.yaml"  # nobody has named it
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path / "none.yaml"))
    assert refusal().startswith(f"{tmp_path / 'none.yaml'}: no such file; ")
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path))
    assert refusal().startswith(f"{tmp_path}: cannot be read: it is a directory; ")


def test_nothing_secret_is_in_the_text_of_the_settings(monkeypatch):
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", "postgresql://me:hunter2@h/x")
    for name in sources.names():
        monkeypatch.setenv(f"CRYPTO_ASSETS_{name.upper()}_API_KEY", "hunter2")
    found = settings()
    assert "hunter2" not in repr(found) + str(found) + found.model_dump_json(exclude={"postgres_url"})


def test_every_source_may_have_a_key_and_only_its_own(monkeypatch):
    assert {settings().api_key(name) for name in sources.names()} == {None}
    for name in sources.names():
        monkeypatch.setenv(f"CRYPTO_ASSETS_{name.upper()}_API_KEY", f"key-of-{name}")
    found = settings()
    assert {name: found.api_key(name) for name in sources.names()} == {
        name: f"key-of-{name}" for name in sources.names()
    }
    monkeypatch.setenv("CRYPTO_ASSETS_OKX_API_KEY", "")  # as compose.yaml sets a key that nobody gave
    assert (settings().api_key("okx"), settings().api_key("bybit")) == (None, "key-of-bybit")


def test_no_source_is_imported_where_no_key_is_set():
    code = (
        "import sys; from crypto_assets.config.environment import settings\n"
        "settings(); print('crypto_assets.sources' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_resources_and_read_check_their_values_too(monkeypatch):
    for call, says in (
        (LakeResource(url="gs://bucket/x").lake, "LakeResource.url: expected a folder or s3://bucket/prefix"),
        (PostgresResource(url="postgresql+psycopg2://me:hunter2@h/x").resolved_url, "PostgresResource.url: expected"),
    ):
        with pytest.raises(ConfigError, match=says) as caught:
            call()
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match="less than or equal to 64"):
        CollectorResource(downloads=65)
    monkeypatch.setenv("CRYPTO_ASSETS_DOWNLOAD", "3")
    for call in (
        LakeResource().lake,
        PostgresResource().resolved_url,
        CollectorResource().in_flight,
        lambda: crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", "2024-01-01", "2024-01-01"),
    ):
        with pytest.raises(ConfigError, match="did you mean CRYPTO_ASSETS_DOWNLOADS"):
            call()


def test_a_folder_that_cannot_be_written_is_refused_by_the_variable_that_names_it(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path / "home"))
    with pytest.raises(
        ConfigError, match=rf"{tmp_path}/home: .* {tmp_path} is not writable; name another with CRYPTO_ASSETS_HOME"
    ):
        require_places(settings())


def test_no_library_asks_this_machine_through_a_proxy():
    assert direct_to_loopback({"NO_PROXY": "a.example"}) == {}
    assert direct_to_loopback({"http_proxy": "http://p:1", "no_proxy": "*"}) == {}
    value = "localhost,127.0.0.1,::1"
    assert direct_to_loopback({"HTTP_PROXY": "http://p:1"}) == {"NO_PROXY": value, "no_proxy": value}
    found = direct_to_loopback({"all_proxy": "socks5://p:1", "NO_PROXY": "a.example, localhost"})
    assert found["no_proxy"] == found["NO_PROXY"] == "a.example,localhost,127.0.0.1,::1"


def test_children_ask_this_machine_straight(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://p:1")
    assert "127.0.0.1" in environment()["no_proxy"].split(",")


# ---- every command, in a folder where nothing is --------------------------------------------------------------------

LOOKING = (
    "status",
    "gaps",
    "quality",
    "incidents",
    "delays",
    "corrections",
    "quarantine",
    "runs",
    "resume",
    "report",
    "validate",
    "lock",
    "postgres",
    "sql x",
)


def _commands(folder: Path, *commands: str, **variables: str) -> list[tuple[int, str]]:
    """Return exit code and stderr of commands that are run in a folder, one after another in one process."""
    command = Command(folder, {"DAGSTER_HOME": str(PROJECT), **variables})
    return [(answer.code, answer.err) for answer in command.sequence(*commands, folder=folder)]


def test_commands_that_look_make_nothing_where_nothing_is(tmp_path):
    for code, said in _commands(tmp_path, *LOOKING):
        assert code == 2
        assert str(tmp_path) in said
        assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_commands_that_look_say_where_they_looked_beside_a_collection(tmp_path):
    entry = "{exchange: binance, market_type: spot, datasets: [ohlcv_1m], symbols: [BTC/USDT], start: 2024-01-01}"
    (tmp_path / "collection.yaml").write_text(f"series: [{entry}]\n")
    for code, said in _commands(tmp_path, *LOOKING):
        assert code == 1
        assert f"no database under {tmp_path / '.crypto_assets'} (CRYPTO_ASSETS_HOME decides where" in said
    assert [path.name for path in tmp_path.iterdir()] == ["collection.yaml"]


def test_reading_and_loading_definitions_make_nothing(tmp_path):
    entry = "{exchange: binance, market_type: spot, datasets: [ohlcv_1m], symbols: [BTC/USDT], start: 2024-01-01}"
    (tmp_path / "collection.yaml").write_text(f"series: [{entry}]\n")
    code = (
        "import crypto_assets, crypto_assets.definitions\n"
        "for source in ('lake', 'warehouse'):\n"
        "    try:\n"
        "        crypto_assets.read('binance', 'BTC/USDT', 'ohlcv_1m', '2024-01-01', '2024-01-01', source=source)\n"
        "    except crypto_assets.errors.CryptoAssetsError as error:\n"
        "        print(error)\n"
    )
    command = Command(tmp_path, {})
    done = subprocess.run(
        [sys.executable, "-c", code], env=command.variables, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Each says where it looked, and which variables decide that.
    assert done.stdout.count(f"nothing was collected here: no database under {tmp_path / '.crypto_assets'} (") == 2
    assert done.stdout.count("CRYPTO_ASSETS_HOME") == done.stdout.count("CRYPTO_ASSETS_POSTGRES_URL") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["collection.yaml"]


def test_every_command_checks_the_environment_before_anything_else(tmp_path):
    answers = _commands(
        tmp_path,
        *LOOKING,
        *("collect --from 2024-01-01 --to 2024-01-01", "fill", "up", "api", "demo", "selftest", "sandbox", "pause"),
        CRYPTO_ASSETS_DOWNLOAD="3",
    )
    for code, said in answers:
        assert code == 2
        assert "CRYPTO_ASSETS_DOWNLOAD: unknown; did you mean CRYPTO_ASSETS_DOWNLOADS?" in " ".join(said.split())
    assert list(tmp_path.iterdir()) == []


def test_help_is_given_whatever_the_environment_says(tmp_path):
    (code, _), (other, _) = _commands(tmp_path, "--help", "status --help", CRYPTO_ASSETS_DOWNLOAD="3")
    assert (code, other) == (0, 0)


def test_a_collection_that_is_named_by_option_must_be_a_file(tmp_path):
    answers = _commands(tmp_path, f"--config {tmp_path}/none.yaml status", f"--config {tmp_path} status")
    assert [code for code, _ in answers] == [2, 2]
    assert f"{tmp_path}/none.yaml: no such file" in answers[0][1]
    assert f"{tmp_path}: cannot be read: it is a directory" in answers[1][1]


def test_a_reader_that_goes_early_ends_the_command_without_a_word(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m crypto_assets --help | true", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


def test_the_secret_of_a_url_is_not_in_the_traceback_of_debug(tmp_path):
    command = Command.at(tmp_path, "postgresql://someone:hunter2@127.0.0.1:1/none", CRYPTO_ASSETS_STORE_PATIENCE_S="1")
    command.configure(
        "series: [{exchange: binance, market_type: spot, datasets: [ohlcv_1m], symbols: [BTC/USDT], start: 2024-01-01}]"
    )
    answer = command("--debug", "status")
    assert answer.code == 1
    assert "Traceback" in answer.err
    assert "hunter2" not in answer.out + answer.err
    assert not no_traceback(answer)


def test_everything_is_local_where_the_environment_says_nothing(clean):
    found = settings()
    assert found.home == clean / ".crypto_assets"
    assert found.config == clean / "collection.yaml"
    assert found.lake == str(clean / ".crypto_assets" / "lake")
    assert (found.postgres_url, found.downloads, found.postgres_durable) == (None, 12, True)


def test_the_environment_names_the_lake_the_database_and_the_collection(clean, monkeypatch):
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", "~/market")
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", "s3://bucket/prefix/")
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", "postgresql://localhost/market")
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", "other.yaml")
    monkeypatch.setenv("CRYPTO_ASSETS_DOWNLOADS", "3")
    found = settings()
    assert found.home == Path("~/market").expanduser()
    assert found.lake == "s3://bucket/prefix"
    assert found.postgres_url == "postgresql://localhost/market"
    assert found.config == clean / "other.yaml"
    assert found.downloads == 3


def test_a_lake_in_a_folder_becomes_an_absolute_path_and_an_empty_variable_is_none(clean, monkeypatch):
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", "lake")
    assert settings().lake == str(clean / "lake")
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", "")
    assert settings().lake == str(clean / ".crypto_assets" / "lake")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CRYPTO_ASSETS_DOWNLOADS", "many", "unable to parse string as an integer, found 'many'"),
        ("CRYPTO_ASSETS_DOWNLOADS", "0", "Input should be greater than or equal to 1, found '0'"),
        ("CRYPTO_ASSETS_DOWNLOADS", "65", "Input should be less than or equal to 64, found '65'"),
        ("CRYPTO_ASSETS_POSTGRES_DURABLE", "perhaps", "unable to interpret input, found 'perhaps'"),
    ],
)
def test_a_bad_variable_is_refused_by_its_name(clean, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        settings()
    assert str(caught.value).startswith(f"environment variable {name}: ")
    assert str(caught.value).endswith(message)
    assert "\n" not in str(caught.value)

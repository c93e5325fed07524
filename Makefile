# make demo   collect from a synthetic exchange on this machine, show the stored data
# make test   all tests (uses a browser and an exchange's real files if they are installed)
# make part   the demo, some faults and a part of the tests: what another release of Python could break; under 3 minutes
# make contract  what every source offers against the sandbox, and the table of it: source, dataset, property; 1 minute
# make image  the Dockerfile and compose.yaml, their own steps and commands in a chroot; needs root
# make check  lint, format, types and the direction of imports
# make bench  compare CPU and memory with a plain script, in one run
# make lock   write the lock files again: all packages by version and hash
# make docs   build the docs site into site/; open site/index.html. make docs-serve: on http://127.0.0.1:8000, built again at each change
# make release  build sdist and wheel into dist/, install the wheel into an empty environment and collect with it
# make prove  proofs that take minutes: limits, kills, stops, recovery, queues, listings, flipped bits, failing stores, no false alarms

PYTHON ?= python3
# More than cores: most tests wait for servers.
WORKERS ?= 6
VENV := .venv
BIN := $(VENV)/bin

COMPILE := --quiet --universal --upgrade --python-version 3.11 --generate-hashes --no-strip-extras --custom-compile-command 'make lock' pyproject.toml

.PHONY: demo test contract part image check docs docs-serve bench prove release lock clean

# Every package must have its hash from the lock file; this package is then built from this folder with the installed tools.
$(VENV)/installed: pyproject.toml setup.py requirements-dev.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "crypto_assets needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name another with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(VENV)/installed
	$(BIN)/crypto-assets demo

# Hundreds of processes import the package: compile it once, even if the environment forbids bytecode.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

contract: $(VENV)/installed
	$(BIN)/python -m crypto_assets_tests.sources.contract

PART := rows config storage/test_parquet.py storage/test_lake.py storage/test_s3.py storage/test_warehouse.py defs/test_definitions.py
FAULTS := nothing outage wrong-checksum missing-bar republished http-503

part: export PYTHONDONTWRITEBYTECODE =
part: $(VENV)/installed
	home=$$(mktemp -d) && cd $$home && $(abspath $(BIN))/crypto-assets init . && $(abspath $(BIN))/crypto-assets demo && rm -r $$home
	$(BIN)/crypto-assets selftest $(FAULTS:%=--fault %)
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(PART:%=crypto_assets_tests/%)

image: $(VENV)/installed
	$(BIN)/python -m proofs.image

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pip check

# Both load the hooks of docs_site/ from this folder. The variable silences an advertisement of mkdocs-material for its successor.
docs docs-serve: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/installed
	$(BIN)/python -m mkdocs build

docs-serve: $(VENV)/installed
	$(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8000

bench: $(VENV)/installed
	$(BIN)/python -m bench

prove: $(VENV)/installed
	$(BIN)/crypto-assets selftest
	$(BIN)/python -m proofs.limits --seconds 300
	$(BIN)/python -m proofs.limits --seconds 300 --kill
	$(BIN)/python -m proofs.kills
	$(BIN)/python -m proofs.stops
	$(BIN)/python -m proofs.recovery
	$(BIN)/python -m proofs.queue
	$(BIN)/python -m proofs.discovery
	$(BIN)/python -m proofs.flips
	$(BIN)/python -m proofs.stores
	$(BIN)/python -m proofs.clean
	$(BIN)/python -m proofs.definitions
	$(BIN)/python -m proofs.image
	$(BIN)/python -m proofs.latest_prices

# The wheel is built from the sdist: this shows that both are complete.
release: $(VENV)/installed
	rm -rf dist build
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m proofs.release dist/*.whl

# Write the newest versions that pyproject.toml allows; the lock files change only when somebody runs this.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	$(VENV)-lock/bin/uv pip compile $(COMPILE) --output-file requirements.lock
	$(VENV)-lock/bin/uv pip compile $(COMPILE) --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) .venv-highest .crypto_assets site

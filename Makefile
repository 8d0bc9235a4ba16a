# Everything here makes its own environment: Python 3.11+, make and git are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_READY := $(VENV)/.demo-ready
DEV_READY := $(VENV)/.dev-ready

.DEFAULT_GOAL := help
# What must run on every declared Python: everything but the servers and the clients.
CORE_TESTS := tests/arguments tests/engine tests/flow tests/faces tests/policy tests/promises tests/store tests/cli tests/telemetry tests/soak tests/frameworks

.PHONY: help demo test test-core test-full mutants check model bench format clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ascend-guard needs Python 3.11 or newer; $$($(PYTHON) --version) is $(PYTHON). Try: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO_READY): pyproject.toml | $(BIN)/python
	@echo "Installing ascend-guard into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV_READY): pyproject.toml | $(BIN)/python
	@echo "Installing ascend-guard and its development tools into $(VENV) (about two minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(DEMO_READY) $@

demo: $(DEMO_READY)  ## watch real tool calls being approved, denied, held and stopped (seconds, no network)
	@$(BIN)/ascend-guard demo

test: $(DEV_READY)  ## the tests, in minutes
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-core: $(DEV_READY)  ## the core's tests alone (make VENV=.venvs/other PYTHON=python3.13 test-core)
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(CORE_TESTS)

test-full: $(DEV_READY)  ## the tests with the long schedules
	ASCEND_TEST_PROFILE=full $(BIN)/python -m pytest -n 2 --dist loadgroup --timeout 3000

mutants: $(DEV_READY)  ## small faults in security-critical modules, each of which must fail a test (make mutants ONLY=flow)
	$(BIN)/python mutants $(ONLY)

check: $(DEV_READY)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

bench: $(DEV_READY)  ## what a governed call costs, as ratios measured in one run
	$(BIN)/python -m benchmarks

model:  ## check the model of the governed call and the kill switch (needs spin)
	model/check.sh

format: $(DEV_READY)  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environments and caches
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis

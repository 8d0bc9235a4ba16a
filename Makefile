# Everything here makes its own environment: Python 3.11+, make and git are all it needs.
PYTHON ?= python3
# Compiling the tests and what they start takes longer than many of them, so what was compiled is kept.
unexport PYTHONDONTWRITEBYTECODE
# A worker takes over half of what the other one has left when it has nothing to do. The tests of a module stay together, and
# what they share is made once.
PYTEST := -m pytest -n 2 --dist worksteal
VENV := .venv
BIN := $(VENV)/bin
DEMO_READY := $(VENV)/.demo-ready
DEV_READY := $(VENV)/.dev-ready

.DEFAULT_GOAL := help
# What `make test-matrix` runs; see .ci/matrix. One of them: make test-matrix CELLS=lowest
CELLS ?= lowest newest 3.11 3.12 3.13

.PHONY: help demo test test-full test-matrix coverage mutants check lint audit sbom lock model bench format clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c '' 2>/dev/null || { echo "PYTHON=$(PYTHON) is not a Python that can be run. Name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ascend-guard needs Python 3.11 or newer; $$($(PYTHON) --version) is $(PYTHON). Try: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO_READY): pyproject.toml | $(BIN)/python
	@echo "Installing ascend-guard into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

# Every file that is installed has its hash in the lock file; the package itself is built by the locked backend.
# pip installs uv, which installs the rest many times faster than pip does.
$(DEV_READY): pyproject.toml requirements-dev.lock | $(BIN)/python
	@echo "Installing ascend-guard and its development tools into $(VENV) (about a minute the first time) ..."
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.lock >$(VENV)/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(DEMO_READY) $@

demo: $(DEMO_READY)  ## watch real tool calls being approved, denied, held and stopped (seconds, no network)
	@$(BIN)/ascend-guard demo

test: $(DEV_READY)  ## the tests, in minutes
	$(BIN)/python $(PYTEST)

test-full: $(DEV_READY)  ## the tests with the long schedules
	ASCEND_TEST_PROFILE=full $(BIN)/python $(PYTEST) --timeout 3000

mutants: $(DEV_READY)  ## put small faults into security-critical modules; each must fail a test (make mutants ONLY=flow)
	$(BIN)/python mutants $(ONLY)

test-matrix: $(DEV_READY)  ## all tests on every Python, and against the lowest and the newest dependencies (hours)
	VENV=$(VENV) .ci/matrix $(CELLS)

coverage: $(DEV_READY)  ## the tests with branch coverage, also of the processes they start, and the gate
	rm -f .coverage .coverage.*
	$(BIN)/coverage run $(PYTEST) --timeout 600
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet -o coverage.json
	$(BIN)/python .ci/coverage_gate.py coverage.json

check: lint audit sbom  ## lint, format, types, known vulnerabilities, the list of components

lint: $(DEV_READY)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

audit: $(DEV_READY)  ## known vulnerabilities of the locked dependencies; passes, and says so, where they cannot be looked up
	VENV=$(VENV) .ci/audit

sbom: $(DEV_READY)  ## what the lock file installs, as CycloneDX, in dist/sbom.cdx.json (no network)
	@mkdir -p dist
	$(BIN)/python -W ignore -m cyclonedx_py requirements requirements-dev.lock --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.cdx.json

lock: $(BIN)/python  ## renew requirements-dev.lock with the newest allowed versions
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 --upgrade --generate-hashes \
	  --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o requirements-dev.lock

bench: $(DEV_READY)  ## measure the cost of a governed call, as ratios within one run
	$(BIN)/python -m benchmarks

model:  ## check the model of the governed call and the kill switch (needs spin)
	model/check.sh

format: $(DEV_READY)  ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environments and caches
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* coverage.json

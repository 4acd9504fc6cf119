# chargewatch: `make run` starts everything on this machine, `make test` runs the test suite.
PYTHON ?= python3
PORT ?= 8000
DEMO ?= 1
LOG_LEVEL ?= warning
WORKERS ?= auto
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN_READY := $(VENV)/.run-ready
DEV_READY := $(VENV)/.dev-ready
TRAIN_READY := $(VENV)/.train-ready

.PHONY: run setup setup-train test check bench hostile faults soak lock clean

run: $(RUN_READY)
	@CHARGEWATCH_LOG_LEVEL=$(LOG_LEVEL) exec $(BIN)/chargewatch serve --port $(PORT) $(if $(filter 0,$(DEMO)),--first-key,--demo)

setup: $(DEV_READY)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chargewatch needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@$(PYTHON) -m venv $(VENV)

$(RUN_READY): requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "installing chargewatch into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_READY): requirements/dev.txt $(RUN_READY)
	@echo "installing the tools for tests into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# For `chargewatch train` and for the peers of `chargewatch evaluate`.
setup-train: $(TRAIN_READY)

$(TRAIN_READY): requirements/train.txt $(DEV_READY)
	@echo "installing what training and the peers need into $(VENV) ..."
	@$(PIP) install 'torch>=2.13,<2.14'
	@$(PIP) install --require-hashes -r requirements/train.txt
	@touch $@

# The long files come first, in the order of the folders: no processor is left with one at the end.
test: $(DEV_READY)
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: $(DEV_READY)
	@$(BIN)/ruff check src tests
	@$(BIN)/ruff format --check src tests
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(DEV_READY)
	@$(BIN)/python -m tests.benchmarks

# Hostile requests to every route, and what came of them.
hostile: $(DEV_READY)
	@$(BIN)/python -m tests.hostile

# Faults under load, and whether anything was lost.
faults: $(DEV_READY)
	@$(BIN)/python -m tests.faults

soak: $(DEV_READY)
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m soak

# Writes the hash-locked requirements anew (needs uv).
lock:
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml requirements/build.in -o requirements/run.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml requirements/build.in --extra dev -c requirements/run.txt -o requirements/dev.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		requirements/train.in -c requirements/dev.txt -o requirements/train.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

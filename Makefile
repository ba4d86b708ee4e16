# People and CI run the same commands. PYTHON and VENV can be given: make test PYTHON=/usr/bin/python3.12 VENV=/tmp/venv
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs clean redis

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs
JOBS ?= 2
# The build backend is installed by pip in an environment of its own, which only PIP_CONSTRAINT reaches.
PIP := PIP_CONSTRAINT=$(CURDIR)/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

help:
	@echo "make demo             a synthetic world: fit, backtest, report, under two minutes"
	@echo "make demo DATA=...    recipes/generic.toml on your tables (a folder, or name:PATH)"
	@echo "make test             everything that must pass: make check, then the tests"
	@echo "make check            lint, format, types, layers; no tests"
	@echo "make bench            the benchmarks of bench/"
	@echo "make docs             write docs/reference.md again from the code"
	@echo "make clean            remove caches; the virtual environment stays"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Shortlist needs Python 3.11 or newer; found: $$($(PYTHON) --version 2>&1 || true). Say which: make ... PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "$(PYTHON) has no venv module. On Debian and Ubuntu it is a package of its own: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps: what is installed is installed once, and again when the pins or the project file change.
$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing what Shortlist needs into $(VENV) (once; some minutes)"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing what Shortlist and its tests need into $(VENV) (once; some minutes)"
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
ifdef DATA
	$(BIN)/shortlist backtest recipes/generic.toml --data '$(DATA)' --out '$(OUT)/generic'
else
	$(BIN)/shortlist demo --out '$(OUT)/demo'
endif

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Tests of the log in Redis start a server of their own on a free port; without one they are skipped, which is said at the end.
redis:
	@command -v redis-server >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get install -y -q redis-server >/dev/null 2>&1; } || echo "redis-server is not installed: its tests are skipped" >&2

test: check redis
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

bench: $(VENV)/.dev
	@set -e; for file in bench/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

docs: $(VENV)/.run
	$(BIN)/python -m shortlist.cli.reference

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find shortlist tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

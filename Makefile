# make demo    set up on a fresh machine and run the main job on real documents
# make test    set up and pass the tests
# make check   style, types, import contract, compose file
# make help    this

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check clean

help:
	@sed -n 's/^# //p' Makefile | head -4

demo: $(VENV)/.installed
	$(BIN)/sextant demo --store .demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

clean:
	rm -rf $(VENV) .demo build *.egg-info

# torch comes first, by its exact version: a range would take a build with gigabytes of CUDA where
# the constraint is satisfied by a CPU build that pip can see.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Setting up $(VENV); this downloads some hundred megabytes the first time"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable ".[dev]"
	@touch $@

# make quickstart   set up, make a corpus, train, evaluate and translate; minutes on two cores, no GPU
# make test         set up and run the tests
# make test-slow    run the long attacks too: fuzzing, kills, damage
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
QUICK := data/quickstart

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

.venv/ok: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Python 3.11 or newer is needed, but $(PYTHON) is $$($(PYTHON) --version 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch .venv/ok

setup: .venv/ok

$(QUICK)/test.de: scripts/make_quickstart_corpus.py $(wildcard scripts/quickstart/*.py) scripts/quickstart_examples.tsv | .venv/ok
	$(BIN)/python scripts/make_quickstart_corpus.py $(QUICK)

quickstart: .venv/ok $(QUICK)/test.de
	$(BIN)/python -m transformer train configs/quickstart.yaml
	$(BIN)/python -m transformer evaluate runs/quickstart --samples 6
	$(BIN)/python scripts/check_quickstart.py runs/quickstart

test: .venv/ok
	$(BIN)/python -m pytest -q

test-slow: .venv/ok
	$(BIN)/python -m pytest -q -m slow

check: .venv/ok
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy transformer scripts tests

format: .venv/ok
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/ok
	$(BIN)/python scripts/config_reference.py > docs/config.md

clean:
	rm -rf .venv data/quickstart

.PHONY: help setup quickstart test test-slow check format docs clean

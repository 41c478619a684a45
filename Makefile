# Both README commands work on a machine with Python, make and a package index. The demo installs what
# polymodal and its server need, the other targets also what the tests need; each is installed once, and again
# only after pyproject.toml or constraints.txt has changed.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test torture bench bench-compare check format

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 16

.venv/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "polymodal needs Python 3.11 or later; $(PYTHON) is older. Name another one: make PYTHON=python3.12"; exit 1; }
	@echo 'Installing polymodal into .venv, once; this takes about a minute.'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve]'
	@touch $@

.venv/.installed: .venv/.core
	@echo 'Installing what the tests need into .venv, once; this takes a few minutes.'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/.core  ## train MAC-WAE on PolyDigits, score it and write runs/demo/report.html
	$(BIN)/polymodal demo --folder runs/demo

test: .venv/.installed  ## run every test and doctest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

torture: .venv/.installed  ## try bad inputs and faults, those that take minutes too, and write docs/reliability.md
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "torture or not torture" -n $(WORKERS) --dist worksteal tests --reliability docs/reliability.md

bench: .venv/.installed  ## compare steps, loader, memory and start-up with plain ones, in about 25 minutes
	$(BIN)/python -m benchmarks

bench-compare: .venv/.installed  ## compare steps with those of another commit: make bench-compare BASE=main
	$(BIN)/python -m benchmarks.compare "$(BASE)"

check: .venv/.installed  ## lint, format and types, without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/.installed  ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

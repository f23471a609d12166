# Two commands matter: `make run` (the whole walk, into build/) and `make test`. Both set up .venv first.
# Needs Python 3.11 or newer and make; another interpreter: make setup PYTHON=python3.12

PYTHON ?= python3
PYTEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test lab site lint format notebooks bench clean

help: ## list the targets
	@echo "make run    executes all notebooks, results in build/"
	@echo "make test   runs every test"
	@echo
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{ printf "  %-10s %s\n", $$1, $$2 }'

setup: $(STAMP) ## set up .venv with the tested versions (a second time: installs nothing)

# The stamp is written last: an installation that was cut short is taken up again by the next call.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "make: $(PYTHON) not found. Install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1); needed: Python 3.11 or newer. Name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "make: $(PYTHON) cannot make virtual environments (module venv or ensurepip is missing)." >&2; \
		echo "      On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test,bench]'
	@touch $(STAMP)

run: $(STAMP) ## execute all notebooks in order; notebooks, figures and results table in build/
	$(BIN)/python -m helpers run-all

# Files of tests side by side, one a core and at most four, in the order of tests/conftest.py: the slow ones first. One
# thread each: threads of several processes fight for the cores.
test: lint ## run every test: ruff, unit tests, notebooks (PYTEST_ARGS="..." is passed on)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lab: $(STAMP) ## open JupyterLab on the notebooks
	$(BIN)/python -m jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/00_index.ipynb

site: $(STAMP) ## build a static site of the executed notebooks, in build/site/html
	rm -rf build/site
	$(BIN)/python -m sphinx -M html . build/site -c docs -W --keep-going -q
	@echo "build/site/html/index.html"

lint: $(STAMP) ## ruff, notebooks included, and the floors of helpers (import-linter)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/lint-imports --no-cache

format: $(STAMP) ## let ruff repair what it can
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

notebooks: $(STAMP) ## re-execute the committed notebooks in place and bring them to normal form
	$(BIN)/python -m helpers execute

# PHOTOS: a folder with a labels.csv (file, class_index); without it the photographs that packages bring.
# QUICK=1: few images, one network, cheap methods; the tables go to build/quick.
BENCH = $(BIN)/python -m benchmarks.
ASKED = $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(QUICK),--quick)
bench: $(STAMP) ## measure everything again, ours against other methods: hours (QUICK=1: minutes; PHOTOS=folder)
ifndef QUICK
	$(BENCH)speed
	$(BENCH)nearest
	$(BENCH)witness
	$(BENCH)pointing choose $(ASKED)
	$(BENCH)stability $(ASKED)
	$(BENCH)depths $(ASKED)
endif
	$(BENCH)single $(ASKED)
	$(BENCH)pointing report $(ASKED)
	$(BENCH)sanity $(ASKED)
	$(BENCH)front $(ASKED)

clean: ## remove what can be made again (not .venv: rm -r .venv)
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find helpers tests notebooks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

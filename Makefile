# evonas: `make` lists the targets; each works as the first command on a fresh clone.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/quickstart
JOBS ?= 2

.PHONY: help install search retrain test test-all faults audit format lint check smoke quality bench compare docs notebook figures clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed  ## make .venv with the tested versions of everything

# Python compiles what is imported, which is a part of 22,000 files.
PIP = $(BIN)/pip install --quiet --no-compile -c constraints.txt

# What the main job needs, so that the first search begins sooner; tests need more.
.venv/core: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "evonas needs Python >= 3.11 (PYTHON=python3.11 make ...)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) -e .
	@touch $@

.venv/installed: .venv/core
	$(PIP) -e '.[dev,quantize]'
	@touch $@

search: .venv/core  ## search a head network on the embedded default (synthetic faces)
	@if [ -e $(RUN)/journal.jsonl ]; then $(BIN)/evonas search --resume --run-dir $(RUN); \
	else $(BIN)/evonas search experiments/quickstart.yaml --run-dir $(RUN); fi

retrain: search  ## train the winner longer, beside hand-made baselines
	$(BIN)/evonas retrain $(RUN)/best.json

# Jobs that each have as many threads as there are cores would wait for one another half the time.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: install  ## run the tests that protect a change (JOBS=1: one after the other)
	$(PYTEST) -m "not slow and not browser"

test-all: install  ## run every test, also slow ones and pages in Chromium (SELECT="ray": of a marker)
	$(PYTEST) $(if $(SELECT),-m "$(SELECT)")

faults: install  ## break searches and trainings off at many moments (TRIES=16 of each set)
	EVONAS_TRIES=$(or $(TRIES),16) $(BIN)/pytest tests/faults tests/faults/at_length.py -rP

audit: .venv-audit/installed  ## ask whether a tested version has a known hole (needs the network)
	@.venv-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt --progress-spinner off 2> .venv-audit/said || \
	{ if grep -q "^Found" .venv-audit/said; then cat .venv-audit/said; else \
	echo "audit: no answer for constraints.txt ($$(tail -n 1 .venv-audit/said)): nothing was audited; try again where the Internet can be reached"; fi; exit 1; }
	@cat .venv-audit/said

.venv-audit/installed: Makefile
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet 'pip-audit>=2.7,<3'
	@touch $@

format: install  ## put the code in order
	$(BIN)/ruff format evonas tests experiments docs
	$(BIN)/ruff check --fix evonas tests experiments docs

lint: install  ## check format, style, types and the order of packages
	$(BIN)/ruff format --check evonas tests experiments docs
	$(BIN)/ruff check evonas tests experiments docs
	$(BIN)/mypy
	$(BIN)/lint-imports

# Tests wait for processes that start and end, so that smoke and quality find time beside them.
check: install  ## all that must hold: format, lint, types, floors, documentation, all tests, smoke, quality
	$(MAKE) --jobs 2 --output-sync lint docs  # each of them keeps one core busy
	$(MAKE) --jobs 2 test-all smoke quality SELECT="not (slow and (faults or fuzz))"

smoke: install  ## a small search, stopped and resumed, and its winner retrained
	PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/smoke.sh

quality: install  ## search and retrain the quickstart, hold its test error against recorded bounds (RECORD=1: record; DATA=DIR: every task, see experiments/QUALITY.md)
ifdef DATA
	$(BIN)/python experiments/benchmarks/task_quality.py --data $(DATA) --rival random $(if $(SEEDS),--seeds $(SEEDS))
else
	$(BIN)/python experiments/benchmarks/quality.py $(if $(RECORD),--record) $(if $(SEEDS),--seeds $(SEEDS))
endif

bench: .venv/bench  ## measure throughput, into experiments/benchmarks/RESULTS.md (PARTS="c e")
	$(BIN)/python experiments/benchmarks/throughput.py $(if $(PARTS),--parts $(PARTS))

# What the benchmarks hold evonas against; apart, so that `make test` needs none of it.
.venv/bench: .venv/installed
	$(PIP) -e '.[bench]'
	@touch $@

docs: .venv/docs  ## build the site of the documentation, into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f docs/site/mkdocs.yml
	@echo "read it: $(PYTHON) -m http.server --bind 127.0.0.1 --directory build/site (its search needs a server)"

notebook: .venv/docs  ## run experiments/notebooks/quickstart.ipynb again and keep what it shows
	$(BIN)/python experiments/notebooks/run.py experiments/notebooks/quickstart.ipynb

figures: install  ## draw the pictures of the README again, from rendered faces alone
	$(BIN)/python experiments/figures.py docs

# What builds the site and runs the notebook; apart, so that `make test` needs none of it.
.venv/docs: .venv/installed
	$(PIP) -e '.[docs]'
	@touch $@

compare: .venv/core  ## compare the optimizers on the embedded default
	$(BIN)/evonas compare experiments/quickstart.yaml --budget 40 --seeds 1

clean:  ## remove everything that was made
	rm -rf .venv .venv-audit runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

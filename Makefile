# Needs git, make and Python 3.11 or newer; everything else is installed into .venv.
SHELL := /bin/bash
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test check test-slow lint clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

run: .venv/run ## set up and run the whole pipeline on the demo data
	mlflow run . --env-manager local

test: .venv/test ## set up and run the linter, the type checker and the tests
	ruff check . && ruff format --check .
	mypy
	pytest -n auto --dist loadfile

check: .venv/test ## the same in a minute: only the tests of what differs from origin/main
	ruff check . && ruff format --check .
	lint-imports
	mypy
	tests=$$(python tests/changed.py) && pytest -n auto --dist loadfile $$tests

test-slow: .venv/test ## the proofs that take minutes: kills, real environments, other managers
	pytest -m "slow or environments"

lint: .venv/test ## mend what the linter can mend
	ruff check --fix . && ruff format .

clean: ## remove .venv and all that runs left behind here
	rm -rf .venv .mypy_cache tracking_store mlflow.db sweeps.db mlruns outputs multirun artifacts wandb

.venv/run: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.txt)"
	uv pip install --quiet --compile-bytecode --python .venv/bin/python -r requirements.txt
	@touch $@

.venv/test: requirements.txt requirements-dev.txt | .venv/run
	uv pip install --quiet --compile-bytecode --python .venv/bin/python -r requirements-dev.txt
	@touch $@

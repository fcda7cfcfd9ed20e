# Needs git, make and Python 3.11 or newer; everything else is installed into .venv.
SHELL := /bin/bash
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run ui docs test check test-slow coverage screenshots lint lock audit release-notes clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

run: .venv/run ## set up and run the whole pipeline on the demo data
	mlflow run . --env-manager local

ui: .venv/run ## show the runs of `make run` in the browser
	mlflow ui --backend-store-uri sqlite:///mlflow.db

test: .venv/test ## set up and run the linter, the type checker and the tests
	ruff check . && ruff format --check .
	mypy & pytest -n auto --dist loadfile; tested=$$?; wait $$! && exit $$tested

check: .venv/test ## the same in a minute: only the tests of what differs from origin/main
	ruff check . && ruff format --check .
	lint-imports
	mypy
	tests=$$(python tests/changed.py) && pytest -n auto --dist loadfile $$tests

test-slow: .venv/test ## the proofs that take minutes: kills, real environments, other managers
	pytest -m "slow or environments"

coverage: .venv/test ## the share of lines that the tests run, of every process they start
	rm -rf .venv/coverage && mkdir .venv/coverage
	$(COVERAGE) run -m pytest -n auto --dist loadfile; $(COVERAGE) combine --quiet; $(COVERAGE) report --ignore-errors

screenshots: .venv/test ## take the pictures of the screens in docs/images again: minutes, and Chromium
	python benchmarks/screenshots.py

lint: .venv/test ## mend what the linter can mend
	ruff check --fix . && ruff format .

docs: .venv/run ## build the site of the documents, links checked
	python docs/build.py site

lock: .venv/test ## write every requirements*.lock again: after a pin was changed
	python -m pipeline.commands.lock

audit: .venv/test ## look every locked package up among the known vulnerabilities
	rm -f .venv/locked*
	cat *.lock */*.lock */*/*.lock | grep -oE '^[^ ;]+==[^ ;]+' | sort -u | awk -F== '{ print > ".venv/locked" n[$$1]++ }'
	for list in .venv/locked*; do uv tool run --quiet pip-audit==2.10.1 --disable-pip --no-deps -r $$list || exit 1; done

release-notes: ## print what CHANGELOG.md says of TAG=vX.Y.Z; an error where it says nothing
	@awk -v tag="$(TAG:v%=%)" '/^## / { on = ($$2 == tag) } on { print; n += NF > 0 } END { exit n < 2 }' CHANGELOG.md || \
	{ echo "CHANGELOG.md has no entry under '## $(TAG:v%=%)': rename its section Unreleased, commit, and tag that" >&2; exit 1; }

clean: ## remove .venv and all that runs left behind here
	rm -rf .venv .site dist build *.egg-info .{mypy,ruff,pytest,import_linter}_cache tracking_store .tracking_stores mlflow.db* sweeps.db* \
	  mlruns mlartifacts outputs multirun artifacts wandb serving_image monitoring_log review_runs conf/best *_profile \
	  report.md answers.csv monitoring.html diff.html *-latest.html *-v[0-9]*.html ml_pipeline.log exercises/tracking_store exercises/pages exercises/*.txt
	find . \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# By the lock, digests and all; where it does not fit the platform, by the pins alone.
define install
	@$(UV) --require-hashes -c $(1).lock -r $(1).txt 2>.venv/said || { cat .venv/said >&2; \
	! grep -qiE 'hash mismatch|computed:' .venv/said && echo "$(1).lock does not fit here: installing by the pins alone" && $(UV) -r $(1).txt; }
endef
COVERAGE := COVERAGE_FILE=$(CURDIR)/.venv/coverage/data coverage
UV := uv pip install --quiet --compile-bytecode --python .venv/bin/python

.venv/run: requirements.txt requirements.lock
	@echo "installing packages into .venv: some minutes the first time"
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(call install,requirements)
	@touch $@

.venv/test: requirements-dev.txt requirements-dev.lock | .venv/run
	$(call install,requirements-dev)
	@touch $@

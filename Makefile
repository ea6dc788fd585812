# make demo      run the main job on a small synthetic corpus
# make test      run the tests
# make network   run the tests that query the package index, if the packages have changed
# make lint      run ruff check and ruff format --check
# make types     run mypy on the whole package
# make docs      build the documentation in docs/_build/html; warnings and broken links are errors
# make coverage  run the tests and measure line coverage
# make fuzz      run the property tests with random examples, and long simulations; add failures
#                as fixed cases
# make browser   run the tests in a real browser only; screenshots are in test-results/
# make lab       open the first notebook in JupyterLab
# Each creates .venv on first use and installs every extra but the GPU ones into it with pip; lint,
# types and docs add their own tools.

# Any Python from 3.11 for which the dependencies have wheels.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3.14 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Processes that the tests start import what an earlier one compiled, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test browser network lint types docs coverage fuzz lab bench clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p; s/^#                //p' Makefile

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("laion_dask needs Python 3.11 or newer; this is %d.%d. Choose another with: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@echo "Installing into .venv (a few minutes, once)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --constraint constraints.txt --upgrade pip  # 23 cannot resolve the gpu extra
	@$(PIP) install --constraint constraints.txt --editable '.[all,test]'
	@touch $@

.venv/installed-dev: .venv/installed
	@$(PIP) install --constraint constraints.txt --editable '.[docs,lint]'
	@touch $@

demo: .venv/installed
	@$(BIN)/laion-dask demo demo-corpus

# The checker of accessibility, from npm; without npm its test is skipped.
AXE := 4.14.1

.venv/axe-core/$(AXE): .venv/installed
	@mkdir -p .venv/axe-core
	@cd .venv/axe-core && npm pack --silent axe-core@$(AXE) >/dev/null \
		&& tar xzf axe-core-$(AXE).tgz && touch $(AXE) \
		|| echo "axe-core could not be fetched with npm: accessibility is not tested"

# The notebooks in one process, all other pages in another. JupyterLab loses a message of a widget now
# and then; what failed is run once more, alone.
PAGES := $(BIN)/python -m pytest -m browser tests/browser
BROWSER_TESTS := $(PAGES) --numprocesses 2 --dist loadfile || $(PAGES) --last-failed

# The browser comes last, so that pages do not wait for other tests.
test: .venv/installed .venv/axe-core/$(AXE)
	@$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal
	@$(BROWSER_TESTS)

browser: .venv/installed .venv/axe-core/$(AXE)
	@$(BROWSER_TESTS)

network: .venv/resolved

.venv/resolved: .venv/installed pyproject.toml constraints.txt
	@$(BIN)/python -m pytest -m network tests/packaging
	@touch $@

lint: .venv/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/installed-dev
	@$(BIN)/mypy

docs: .venv/installed-dev
	@$(BIN)/python -m sphinx -W -n -E --keep-going -q -b html docs docs/_build/html
	@$(BIN)/python docs/check_pages.py docs/_build/html

coverage: .venv/installed
	@$(BIN)/python -m pytest --cov=laion_dask --cov-report=term:skip-covered --cov-report=html:.coverage-html

fuzz: .venv/installed
	@$(BIN)/python -m pytest -m "hypothesis or simulation" --hypothesis-profile=fuzz

lab: .venv/installed demo-corpus/report.html
	@$(BIN)/jupyter lab --ServerApp.root_dir=. notebooks/00_explore.ipynb

demo-corpus/report.html: .venv/installed
	@$(BIN)/laion-dask demo demo-corpus

bench: .venv/installed
	@$(BIN)/python benchmarks/carve.py

clean:
	rm -rf .venv .bench demo-corpus test-results docs/_build docs/reference/generated .coverage .coverage-html

# make demo   the main job on a small corpus of our own
# make test   the tests
# make network   the tests that ask the package index; again only once the packages have changed
# make fuzz   the property tests with random examples, and long simulations; what they find becomes
#             a fixed case
# make lab    JupyterLab at the first notebook
# Each creates .venv and installs what it needs, once, with plain pip.

PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c "" 2>/dev/null && echo $$p && exit; done; echo python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test network fuzz lab bench clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v in ((3, 11), (3, 12)) or sys.exit("laion_dask needs Python 3.11 or 3.12; this is %d.%d. Say which with: make PYTHON=python3.12 ..." % v)'
	@echo "Installing into .venv (a few minutes, once)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --constraint constraints.txt --upgrade pip  # 23 cannot resolve the gpu extra
	@$(PIP) install --constraint constraints.txt --editable '.[notebook,test]'
	@touch $@

demo: .venv/installed
	@$(BIN)/laion-dask demo demo-corpus

test: .venv/installed
	@$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

network: .venv/resolved

.venv/resolved: .venv/installed pyproject.toml constraints.txt
	@$(BIN)/python -m pytest -m network tests/packaging
	@touch $@

fuzz: .venv/installed
	@$(BIN)/python -m pytest -m "hypothesis or simulation" --hypothesis-profile=fuzz

lab: .venv/installed demo-corpus/report.html
	@$(BIN)/jupyter lab --ServerApp.root_dir=. notebooks/01_quickstart.ipynb

demo-corpus/report.html: .venv/installed
	@$(BIN)/laion-dask demo demo-corpus

bench: .venv/installed
	@$(BIN)/python benchmarks/carve.py

clean:
	rm -rf .venv .bench demo-corpus

# The two commands of the README are `make demo` and `make test`.
# They need git, make and python3 with its venv module; everything else they install themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run-installed
OCR := $(VENV)/.ocr-installed
DEV := $(VENV)/.dev-installed
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
PYTEST_ARGS ?=
export FUZZ_SECONDS ?= 30

.PHONY: help demo demo-ad demo-delivery test lint bench fuzz clean

help: ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /	/' | expand -t 14

demo: $(RUN) ## See the whole system work, in a temporary folder
	@$(BIN)/postscan demo

demo-ad: $(RUN) ## The same over a real Active Directory, Samba's (as root)
	@tools/debian-packages domain
	@$(BIN)/python -m testdomain demo

demo-delivery: $(OCR) ## Searchable PDFs to a Samba, a Postfix and an Apache that come and go (as root)
	@tools/debian-packages delivery
	@$(BIN)/python -m testservers demo

test: $(DEV) ## Run every test (installs what only Debian packages provide, or names it)
	@tools/debian-packages tests
	@tools/kerberos-extra $(VENV)
	$(BIN)/pytest -n auto --dist worksteal $(PYTEST_ARGS)

lint: $(DEV) ## Prove formatting, lint, types and import rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV) ## Run the benchmarks and print tables of ratios
	@tools/debian-packages bench
	$(BIN)/python -m bench

fuzz: $(DEV) ## Fuzz everything that reads what strangers send (FUZZ_SECONDS=30 a target)
	$(BIN)/python -m fuzz

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

$(VENV)/bin/python:
	@tools/virtual-environment $(PYTHON) $(VENV)

$(RUN): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV), once: half a minute ..."
	@$(PIP) --editable .
	@touch $@

$(OCR): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV), once: half a minute ..."
	@$(PIP) --editable '.[ocr]'
	@touch $@ $(RUN)

$(DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV), once: half a minute ..."
	@$(PIP) --editable '.[dev]'
	@touch $@ $(RUN) $(OCR)

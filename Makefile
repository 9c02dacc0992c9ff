# convlab: `make lab` to use it, `make test` to be sure of it. Everything lives in $(VENV); repeated calls are quick.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help lab demo test check lint bench frontend clean

# Some hundred processes import convlab in its tests; each would compile it again.
unexport PYTHONDONTWRITEBYTECODE

VENV ?= .venv
# The build of PyTorch that is installed first, so that nothing else chooses one.
TORCH ?= torch==2.13.0
# On Linux the Python index's build brings CUDA, gigabytes of it; PyTorch's own index has the one for the CPU.
# Left alone where pip was told where else to look; empty it (TORCH_INDEX=) for the build with CUDA.
ifeq ($(PIP_FIND_LINKS)$(PIP_INDEX_URL)$(PIP_EXTRA_INDEX_URL)$(filter-out Linux,$(shell uname -s)),)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif
# The first Python that is new enough; name another with `make lab PYTHON=/path/to/python`.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo $$p && break; done)

# Files of tests run beside each other, in the order of their names: the browser's, which wait a lot, come first.
WORKERS ?= logical
PYTEST := $(VENV)/bin/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

BIN := $(VENV)/bin
BENCH := .venv-bench
CONTENDERS := livelossplot lightning fastai skorch torch-lr-finder tqdm
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
FRONTEND := $(addprefix convlab/frontend/,package-lock.json build.mjs theme.css) $(shell find convlab/frontend/src -type f)
PACKAGE := pyproject.toml hatch_build.py $(FRONTEND)

help:
	@echo "make lab       install convlab and open JupyterLab on the first notebook"
	@echo "make demo      run that notebook without a browser; writes artifacts/quickstart.html"
	@echo "make test      everything that has to pass, Chromium and all"
	@echo "make check     the quick part of it: some four minutes on two processors"
	@echo "make bench     the performance claims, measured here"
	@echo "make frontend  bundle convlab/frontend/src again after editing it"
	@echo "make clean     remove what the others made, but for $(VENV)"

lab: $(VENV)/.lab
	@$(BIN)/python tools/lab.py notebooks/01_quickstart.ipynb

demo: $(VENV)/.lab
	@$(BIN)/python tools/demo.py notebooks/01_quickstart.ipynb artifacts/quickstart.html

test: $(VENV)/.test
	@bash tools/chromium.sh $(BIN)/python
	@$(MAKE) --no-print-directory lint
	@$(PYTEST) --durations=10

check: lint
	@$(PYTEST) -m "not slow and not browser"

lint: $(VENV)/.test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(BENCH)/.ready
	@bash tools/chromium.sh $(BENCH)/bin/python
	@for file in benchmarks/*.py; do echo "== $$file"; $(BENCH)/bin/python $$file || exit 1; done

frontend: $(VENV)/.test
	@$(BIN)/python hatch_build.py

clean:
	rm -rf artifacts build dist convlab/frontend/static convlab/frontend/node_modules
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis $(VENV)/.lab $(VENV)/.test $(BENCH)/.ready
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(VENV)/.torch:
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(NEW_ENOUGH)' || { \
		echo "convlab needs Python 3.11 or newer, and found $$($(or $(PYTHON),python3) --version 2>&1 || true)."; \
		echo "Name one: make lab PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) and $(TORCH)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) "$(TORCH)"
	@touch $@

$(VENV)/.lab: $(VENV)/.torch $(PACKAGE)
	@echo "Installing convlab into $(VENV)"
	@$(PIP) "$(TORCH)" --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.torch $(PACKAGE)
	@echo "Installing convlab and what its tests need into $(VENV)"
	@$(PIP) "$(TORCH)" --editable ".[test]"
	@touch $@ $(VENV)/.lab

# An environment of its own: what convlab is compared with is none of its tests' business.
$(BENCH)/.ready: $(PACKAGE)
	@$(MAKE) --no-print-directory VENV=$(BENCH) $(BENCH)/.torch
	@echo "Installing convlab and what its benchmarks compare it with into $(BENCH)"
	@$(BENCH)/bin/python -m pip install --disable-pip-version-check --quiet "$(TORCH)" --editable ".[test]" $(CONTENDERS)
	@# fastai brings the build with CUDA, which does not load beside torch's build for the CPU; nothing here needs it.
	@$(BENCH)/bin/python -m pip uninstall --quiet --yes torchvision
	@touch $@

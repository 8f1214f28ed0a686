# make search: the main job, from a bare machine to a front.  make test: the whole test suite.
# make docs: docs/mechanisms.md and its picture, after a mechanism was added or measured again.
# All set up .venv first; the second time that takes no time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
RUN := digits

.PHONY: setup search test lint docs

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vitnas needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name one with make PYTHON=python3.x")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch first and by its exact version, so that nothing pulls a larger build after it
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)" -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

search: setup
	$(BIN)/nas search runs/$(RUN).yaml $(if $(wildcard runs/$(RUN)/journal.jsonl),--resume)

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python -m search_spaces.catalog_page docs/mechanisms.json docs/mechanisms.md
	$(BIN)/python benchmarks/mechanism_figure.py

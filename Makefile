# One virtual environment serves every target; a second run reuses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test test-all lint clean

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -q -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -q

clean:
	rm -rf $(VENV) demo-output

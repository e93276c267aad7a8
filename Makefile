# One virtual environment serves every target: `make demo` installs what the demo needs, the other targets add the rest;
# a second run reuses it. Python compiles modules when they are first imported, not all of them when they are installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

BENCH_VENV := .venv-bench
BENCHMARKS := peak training onnx_runtime scaling solvers

.PHONY: demo docs test test-all lint bench web clean

INSTALL = $(BIN)/python -m pip install --quiet --no-compile --editable

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	$(INSTALL) ".[demo]"
	touch $@

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(INSTALL) ".[dev]"
	touch $(VENV)/.installed-demo $@

# Keras would keep its settings in the home folder, Matplotlib its font list.
demo: $(VENV)/.installed-demo
	KERAS_HOME=$(CURDIR)/$(VENV)/cache/keras MPLCONFIGDIR=$(CURDIR)/$(VENV)/cache/matplotlib $(BIN)/keras-crsae demo

# Most tests wait for TensorFlow to trace graphs, on one core each: a process for every core, up to four.
PYTEST := $(BIN)/python -m pytest -q --numprocesses logical --maxprocesses 4 --dist worksteal

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/pyright --pythonpath $(BIN)/python

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

# The site of guides and reference, in site/; nothing is fetched while it is built.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# The short set, within ten minutes on two cores; the packages it compares with have an environment of their own.
# `make bench SHORT=` runs the long one, whose tables benchmarks/README.md holds.
SHORT ?= --short

$(BENCH_VENV)/.installed: pyproject.toml
	test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --editable ".[bench]"
	touch $@

bench: $(BENCH_VENV)/.installed
	set -e; for question in $(BENCHMARKS); do $(BENCH_VENV)/bin/python -m benchmarks.$$question $(SHORT); done

# The page for the browser, in export/web/dist; needs Node.js alone. The packages bring what they need: no scripts of
# theirs run.
web:
	cd export/web && npm install --ignore-scripts --no-audit --no-fund && npm run build

clean:
	rm -rf $(VENV) $(BENCH_VENV) demo-output site

# `make demo` and `make test` need git, make and Python 3.11 or newer; both build .venv the first time.
# `make docs` needs Chromium too, for pictures of the demo.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD := .venv-build
# `make test-all PYTHONS="python3.11 python3.13"`: all Pythons that are found, unless told
PYTHONS ?=
# One process more than processors, since many tests wait for programs; each begins with files of its own, whose tests share
# what takes long to make.
PYTEST_OPTIONS ?= -n $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)') --dist worksteal
SMOKE ?= tests/test_api.py tests/test_short_repr.py tests/ome/test_ome_xml.py -n auto

.PHONY: demo test test-slow coverage check docs dist test-wheel test-all clean

demo: $(VENV)/.core
	$(BIN)/catnip2bids demo demo

test: $(VENV)/.dev
	$(BIN)/pytest $(PYTEST_OPTIONS) -m "not slow"

# what takes long: memory of all programs on datasets that promise too much, a minute of fuzzing
test-slow: $(VENV)/.dev
	$(BIN)/pytest $(PYTEST_OPTIONS) -m slow

# which lines and branches of the package the tests run, in programs that they start too
coverage: $(VENV)/.dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_OPTIONS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# the wheel and the sdist
dist: $(BUILD)/.uv
	rm -rf dist
	$(BUILD)/bin/uv build --quiet --out-dir dist

# a part of the tests against the installed wheel, with the lowest versions that are allowed of what it needs
test-wheel: $(BUILD)/.uv
	$(BUILD)/bin/python tools/test_wheel.py --only lowest $(PYTHON) -- $(SMOKE)

# all tests against the installed wheel, with the lowest and the newest versions
test-all: $(BUILD)/.uv
	$(BUILD)/bin/python tools/test_wheel.py $(PYTHONS)

$(BUILD)/.uv:
	$(PYTHON) -m venv $(BUILD)
	$(BUILD)/bin/python -m pip install --quiet --disable-pip-version-check uv
	touch $@

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "catnip2bids needs Python 3.11 or newer, here is " + sys.version + "; try: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.core: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(BUILD) demo site dist .coverage*

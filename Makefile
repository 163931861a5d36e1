# `make demo` and `make test` need git, make and Python 3.11 or newer; both build .venv the first time.
# `make docs` needs Chromium too, for pictures of the demo.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `make test-wheels PYTHONS="python3.11 python3.13"`: all Pythons that are found, unless told
PYTHONS ?=
# Two processes more than processors, since many tests wait for programs.
PYTEST_OPTIONS ?= -n $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 2)')
# uv takes seconds where pip takes minutes; pip is for machines whose own settings of pip lead to a mirror
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt $(1) || \
  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(1)

.PHONY: demo test test-slow test-all test-wheels coverage check docs dist clean

demo: $(VENV)/.core
	$(BIN)/catnip2bids demo demo

# else each process of tests would compile all modules, and pytest would rewrite all tests in it
test test-slow test-all coverage: export PYTHONDONTWRITEBYTECODE =

# minutes: all that is fast, and one real run of each kind (browser, cluster, killed process, full disk)
test: $(VENV)/.dev
	$(BIN)/pytest $(PYTEST_OPTIONS) --dist loadfile -m "not slow"

# the rest
test-slow: $(VENV)/.dev
	$(BIN)/pytest $(PYTEST_OPTIONS) --dist worksteal -m slow

# both at once: tests of a file mostly run in one process, and share what takes long to make
test-all: $(VENV)/.dev
	$(BIN)/pytest $(PYTEST_OPTIONS) --dist worksteal

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
dist: $(VENV)/.python
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist

# all tests against the installed wheel, with the lowest and the newest versions of what it needs
test-wheels: $(VENV)/.python
	$(BIN)/python tools/test_wheel.py $(PYTHONS)

$(VENV)/.python: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "catnip2bids needs Python 3.11 or newer, here is " + sys.version + "; try: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	touch $@

$(VENV)/.core: $(VENV)/.python pyproject.toml
	$(call INSTALL,-e .)
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(call INSTALL,-e '.[dev]')
	touch $@

$(VENV)/.docs: $(VENV)/.core
	$(call INSTALL,-e '.[docs]')
	touch $@

clean:
	rm -rf $(VENV) demo site dist .coverage*

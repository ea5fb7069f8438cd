# Every target installs what it needs in .venv. It needs Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test check oldest coverage bench bench-streams soak fuzz interop docs clean

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "kvsproducer needs Python 3.11 or newer; run make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/kvs demo $(if $(SOURCE),--source "$(SOURCE)")

test: $(STAMP)
	$(BIN)/python -m pytest -n 3 $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check src tests benchmarks examples fuzz docs
	$(BIN)/ruff format --check src tests benchmarks examples fuzz docs
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Run all tests with the oldest versions that pyproject.toml allows, in a separate environment.
oldest:
	$(PYTHON) -m venv --clear $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --editable '.[dev]' $$($(PYTHON) .ci/oldest)
	$(VENV)-oldest/bin/python -m pytest -n 3 $(ARGS)

# Check that the tests of the packages listed in pyproject.toml run all their lines and branches.
coverage: $(STAMP)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 tests/codecs tests/mkv tests/client $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-streams: $(STAMP)
	@$(BIN)/python -m benchmarks.streams $(ARGS)

soak: $(STAMP)
	$(BIN)/python -m pytest tests -m soak -rs $(ARGS)

# Run each fuzz target for SECONDS, and print the number of executions.
SECONDS := 20
fuzz: $(STAMP)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	@$(BIN)/python -m fuzz --seconds $(SECONDS) $(ARGS)

interop: $(STAMP)
	$(BIN)/python -m pytest tests/interop -rs $(ARGS)

# Build the documentation site in build/site; a warning is an error. Open build/site/index.html.
docs: $(STAMP)
	@$(BIN)/python -c 'import material, mkdocstrings' 2>/dev/null || $(BIN)/python -m pip install --quiet --editable '.[dev,docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(VENV)-oldest build dist src/*.egg-info

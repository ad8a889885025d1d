# Everything a new checkout needs: each target sets up what it uses in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet

.PHONY: demo test test-slow check lint types doctest docs setup setup-dev clean
demo: setup
	@model=$$($(BIN)/python tools/demo_model.py .venv/models); \
	$(BIN)/tunesmith demo $${model:+--model "$$model"}

test: setup-dev
	$(BIN)/python -m pytest

# atheris has wheels for few versions of Python; without it ten minutes of fuzzing are skipped
test-slow: setup-dev
	-$(PIP) -c constraints.txt atheris
	$(BIN)/python -m pytest -p one_line_summary -m "slow or sweep"

# the cheap checks first
check: lint types doctest test

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup-dev
	$(BIN)/python tools/type_coverage.py

doctest: setup-dev
	$(BIN)/python -m pytest --doctest-modules src/tunesmith

# the documentation as a site, in build/site; `python -m http.server -d build/site` serves it
docs: .venv/.ready-docs
	$(BIN)/mkdocs build --strict

.venv/.ready-docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -c constraints.txt mkdocs-material 'mkdocstrings[python]'
	touch $@

setup: .venv/.ready
.venv/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
# torch first, by its pinned number: a range would let pip choose a build of several gigabytes
	$(PIP) $$(grep '^torch==' constraints.txt)
	$(PIP) -c constraints.txt -e '.[gguf]'
	touch $@

# torchao is the one part of the gpu extra that works on a CPU as well; its tests skip without it
setup-dev: .venv/.ready-dev
.venv/.ready-dev: .venv/.ready
	$(PIP) -c constraints.txt -e '.[dev,lora,gguf,semantic,judge,scan,xlsx,ods,serve,trackers,tune]' torchao
	touch $@

clean:
	rm -rf .venv build runs .pytest_cache .mypy_cache .ruff_cache

# Everything a new checkout needs: `make demo` and `make test` set themselves up in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow check lint types clean setup
demo: setup
	@model=$$($(BIN)/python tools/demo_model.py .venv/models); \
	$(BIN)/tunesmith demo $${model:+--model "$$model"}

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m "slow or sweep"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

check: lint types test

setup: .venv/.ready
.venv/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
# torch first, by its pinned number: a range would let pip choose a build of several gigabytes
	$(BIN)/python -m pip install --quiet $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,lora,gguf]'
	touch $@

clean:
	rm -rf .venv build runs .pytest_cache .mypy_cache .ruff_cache

# Habits: make test, make lint, make types, make docs, make dist.
BIN ?= .venv/bin

.PHONY: test lint types docs dist

test:
	$(BIN)/pytest -n 2

lint:
	$(BIN)/ruff format .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

docs:
	$(BIN)/python -m website.notebooks
	$(BIN)/mkdocs build --strict

dist:
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/pip install --quiet twine
	$(BIN)/twine check --strict dist/*

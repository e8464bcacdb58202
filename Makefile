# Calotype: every task of the project. `make` lists them.

VENV := .venv
BIN := $(VENV)/bin
PROMPT ?=
OPERATION ?= image
SEED ?= 1
JOBS ?= 2
export PROMPT OPERATION

LOCK = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help install install-run demo test test-full check docs matrix bench bench-peers faults lock clean

help: ## List the tasks
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: ## Create .venv with everything to work on the code
	@scripts/install dev

install-run: ## Create .venv with what the program needs to run
	@scripts/install run

demo: ## Make one thing from nothing: PROMPT="…" OPERATION=image|video|speech|music|avatar
	@scripts/install $(if $(filter speech avatar,$(OPERATION)),local,run)
	@$(BIN)/calotype demo --operation "$$OPERATION" -- "$$PROMPT"

test: install ## Run the tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not full"

test-full: install ## Run the tests and the long ones
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: install ## Lint, format, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: install ## Write the reference pages from the code
	@$(BIN)/calotype reference cli -o docs/cli.md
	@$(BIN)/calotype reference configuration -o docs/configuration.md

matrix: install ## Drive the server with every client package and write docs/dialects.md
	@$(BIN)/python tests/matrix -n $(JOBS) --dist loadfile

bench: install ## Measure this server
	@$(BIN)/python -m benchmarks --no-peers

bench-peers: install ## Measure it next to LiteLLM and Portkey
	@$(BIN)/python -m benchmarks --peers

faults: install ## Run the fault simulator: SEED=n
	@CALOTYPE_FAULTS_SEED="$(SEED)" $(BIN)/python -m pytest -m faults

lock: ## Resolve the requirements again
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(LOCK) --group build -o requirements/run.lock
	@$(LOCK) --extra local --group build -o requirements/local.lock
	@$(LOCK) --extra local --extra diffusers --extra openvino --group build --group test --group lint -o requirements/dev.lock

clean: ## Remove what the tasks made, .venv included
	@rm -rf $(VENV) demo-output dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .bench
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Every verb is the plain command below it; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test check lint format types rooms coverage bench docs lock requirements crash golden oracles new-collector clean

help: ## List the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

$(STAMP): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "This Python can't make environments; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

setup: $(STAMP) ## Make the environment from the locked requirements

run: setup ## Start a server with three demo tenants, fed by the simulator, and print the page's address
	$(BIN)/collectors serve --demo

test: setup ## Run all tests (arguments: ARGS="-k name")
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: lint types rooms test ## Everything CI checks

lint: setup ## Style and formatting
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/ruff format --check src tests benchmarks tools

format: setup ## Rewrite to the project's formatting
	$(BIN)/ruff check --fix src tests benchmarks tools
	$(BIN)/ruff format src tests benchmarks tools

types: setup ## Static types
	$(BIN)/mypy

rooms: setup ## Which room may import which
	$(BIN)/lint-imports

coverage: setup ## Branch coverage of src by the tests
	$(BIN)/python -m pytest -n 2 --cov --cov-branch --cov-report=term-missing:skip-covered

bench: setup ## Measure P1 to P6, P11 and P13, 60 s each (arguments: ARGS="P1 P3 --seconds 20")
	$(BIN)/python -m benchmarks $(ARGS)

crash: setup ## The crash oracle: 1,000 runs with kills, torn writes and full disks
	$(BIN)/python -m tests.crash.oracle --runs 1000

golden: setup ## Compare what examples lead to with what is expected, or rewrite it (UPDATE=1)
	UPDATE_GOLDEN=$(UPDATE) $(BIN)/python -m pytest tests/contract/test_collectors.py -k expected

oracles: setup ## Compare the methods with other people's packages, each file in an environment of its own
	$(BIN)/python -m tools.oracles $(ARGS)

docs: setup ## Generate the reference pages
	$(BIN)/python -m tools.docs

lock: ## Resolve the dependencies anew and export the requirements files
	uv lock --upgrade
	$(MAKE) requirements

requirements: ## Export the requirements files from the lock
	uv export --quiet --no-header --no-annotate --no-emit-project --no-default-groups -o requirements.txt
	uv export --quiet --no-header --no-annotate --no-emit-project --all-extras --no-default-groups -o requirements-complete.txt
	uv export --quiet --no-header --no-annotate --no-emit-project --group dev -o requirements-dev.txt

new-collector: setup ## Scaffold a collector (NAME=disk_latency FAMILY=performance)
	$(BIN)/python -m tools.new_collector $(NAME) $(FAMILY)

clean: ## Remove the environment and everything generated
	rm -rf $(VENV) data benchmarks/out htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache

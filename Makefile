# Everything here does its own set-up: a fresh machine needs python3 (3.11 or later) and make.

PYTHON ?= python3
# Processes that share the tests, which wait for half of their time: three keep two cores busy. And pytest's further
# arguments: make test ARGS="-k finish"
WORKERS ?= 3
ARGS ?=

# What is compiled is kept, whatever the shell says: a test run starts hundreds of processes, and each would compile anew.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak docs screenshots words format clean setup setup-dev

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-11s %s\n' "$$name" "$$text"; done

demo: setup ## a running platform with two games, bots, and links for you to play; Ctrl-C ends it
	@.venv/bin/oklp demo $(ARGS)

test: setup-dev ## all tests, on SQLite and on PostgreSQL
	.venv/bin/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: setup-dev ## lint, formatting, types, import rules, documentation
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m pytest tests/docs

bench: setup-dev ## measure each database beside its own limit; writes bench/results/
	.venv/bin/python -m bench $(ARGS)

soak: setup-dev ## the long runs: kill -9 under load a hundred times, 100,000 simulated matches, properties by the thousand
	.venv/bin/python -m pytest -m soak --timeout 21600 $(ARGS)
	OKLP_TEST_EXAMPLES_TIMES=50 .venv/bin/python -m pytest --timeout 21600 tests/domain tests/games/test_reversi_rules.py \
		tests/games/test_tile_rush.py tests/services/test_books.py tests/simulate/test_plan.py tests/storage/test_faults.py

docs: setup-dev ## write the generated pages of docs/ again
	.venv/bin/python scripts/gen_docs.py

screenshots: setup-dev ## every page of the site, on a desktop and a phone, light and dark; into build/screenshots/
	.venv/bin/python -m tests.browser.screenshots $(ARGS)

words: setup-dev ## bring the message catalogues up to date with the pages
	.venv/bin/python -m scripts.words

format: setup-dev ## put imports and layout in order
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# A data folder is never removed: there may be somebody's money in it.
clean: ## remove the environment and all caches
	rm -rf .venv .make .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@$(PYTHON) scripts/setup.py run

setup-dev:
	@$(PYTHON) scripts/setup.py dev

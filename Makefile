# What can be done with this checkout. `make` alone prints the list; what a target needs it makes, outside the checkout.

ifndef PYTHON
PYTHON := $(shell .ci/python)
endif
TESTS ?= tests
PYTEST_ARGS ?=
PROCESSES ?= auto
CODEX ?=
BENCH_ARGS ?=
INSTALL_ARGS ?=

.PHONY: help test facts check format bench install uninstall dist release release-check

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

test: ## run the tests (PYTHON=python3.12 TESTS=tests/test_disk.py PYTEST_ARGS="-k name" PROCESSES=1)
	@python=$$(.ci/venv "$(PYTHON)" test) && "$$python" -m pytest $(TESTS) --processes=$(PROCESSES) $(PYTEST_ARGS)

facts: ## test what we assume of Codex, with npm's newest (CODEX=/path/to/codex)
	@.ci/facts "$(PYTHON)" "$(CODEX)"

check: ## check format, lint, types and shell scripts
	@.ci/check "$(PYTHON)"

format: ## format the Python files and mend what ruff can mend
	@.ci/format "$(PYTHON)"

bench: ## measure side by side with the floor of the same run (BENCH_ARGS=--json)
	@"$(PYTHON)" tests/bench.py $(BENCH_ARGS)

install: ## install for you alone, below ~/.local (INSTALL_ARGS="--prefix DIR")
	@sh install.sh $(INSTALL_ARGS)

uninstall: ## remove what was installed; clones stay
	@sh install.sh --uninstall $(INSTALL_ARGS)

dist: ## make the files of a release in dist/
	@.ci/dist

# From the environment, not as text of the recipe: the name of a tag is somebody else's choice.
release: ## set the version, run the checks, commit and tag (VERSION=1.2.3 NOTES=FILE); pushes nothing
	@.ci/release make "$$VERSION" "$$NOTES"

release-check: ## check a tag as the release workflow does (TAG=v1.2.3)
	@.ci/release check "$$TAG"

# `make demo` and `make test` need nothing but Python 3.11 or newer: they build .venv and install into it.
# Variables: PYTHON (which interpreter builds .venv), JOBS (test processes), PYTEST (extra pytest arguments),
# SAME_BYTES (--write where outputs are meant to change).

PYTHON ?= $(firstword $(foreach name,python3 python python3.14 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))
JOBS ?= 2
PYTEST ?=
SAME_BYTES ?=
DEMO ?= demo-output

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
INSTALL_INPUTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format check same-bytes bench notebooks docs reference wheel-test mutants fuzz clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
		while IFS="$$(printf '\t')" read -r name text; do printf '  %-12s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.runtime ## the whole path on the built-in sample, offline: 2 minutes with installation
	@$(BIN)/vocabkit demo --output $(DEMO) --force

test: $(VENV)/.development ## the tests but the slow ones: 5 minutes on two cores
	$(BIN)/python -m pytest --numprocesses $(JOBS) -m "not slow and not network" $(PYTEST)

test-all: $(VENV)/.development notebooks docs ## all tests, every notebook, and the documentation: 20 minutes
	$(BIN)/python -m pytest --numprocesses $(JOBS) -m "not network" $(PYTEST)

lint: $(VENV)/.development ## ruff, mypy --strict and the import layers: 1 minute
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python tools/import_layers.py

format: $(VENV)/.development ## rewrite the sources as ruff wants them: seconds
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

check: lint test ## lint and test: run before every commit

same-bytes: $(VENV)/.development ## every verb on the sample against tests/golden/same_bytes.txt: 2 minutes
	$(BIN)/python -m tests.house.same_bytes $(SAME_BYTES)

bench: $(VENV)/.development ## the benchmarks, with VOCABKIT_CORPORA naming the folder of corpora: half an hour
	mkdir -p build/bench
	$(BIN)/python benchmarks/count.py build/bench/counts
	$(BIN)/vocabkit fit shared-250k --counts build/bench/counts --output build/bench/tok --force --quiet >/dev/null
	$(BIN)/python benchmarks/export.py build/bench/tok
	$(BIN)/python benchmarks/fit.py --peers 1M
	$(BIN)/python benchmarks/audit.py build/bench/tok/tokenizer.model
	$(BIN)/vocabkit audit build/bench/tok --corpus "$$VOCABKIT_CORPORA/ntrex" -o build/bench/report --force --quiet >/dev/null
	$(BIN)/python benchmarks/page.py build/bench/report/report.html
	$(BIN)/python benchmarks/bpe.py
	$(BIN)/python benchmarks/allocation.py build/bench/allocation
	$(BIN)/python benchmarks/blocks.py build/bench/blocks
	$(BIN)/python benchmarks/extend.py build/bench/extend
	$(BIN)/python benchmarks/prepare.py build/bench/tok
	$(BIN)/python benchmarks/pretrain.py head loop large
	$(BIN)/python benchmarks/large.py build/bench/counts

notebooks: $(VENV)/.development ## build every notebook from its source and execute it: 2 minutes
	rm -rf build/notebooks
	mkdir -p build/notebooks
	set -e; for source in notebooks/*.py; do \
		$(BIN)/jupytext --quiet --to ipynb --output "build/notebooks/$$(basename "$$source" .py).ipynb" "$$source"; \
	done
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=600 --timeout=900 -W default build/notebooks

docs: $(VENV)/.development ## build the documentation into site/: seconds
	$(BIN)/python -m mkdocs build --strict --quiet

reference: $(VENV)/.development ## rewrite docs/cli-reference.md, docs/formats.md, the matrix of docs/promises.md and the options: seconds
	$(BIN)/python tools/cli_reference.py
	$(BIN)/python -m tests.vocabulary.formats
	$(BIN)/python -m tests.cli.faults

wheel-test: $(VENV)/.development ## install the wheel into an empty environment and run it from elsewhere: 2 minutes
	$(BIN)/python tools/wheel_test.py

mutants: $(VENV)/.development ## sample 100 small wrongs in the code and count those the tests find: hours
	$(BIN)/python tools/mutants.py

fuzz: $(VENV)/.development ## 20,000 damaged files for every reader: three hours
	$(BIN)/python -m tests.fuzz

clean: ## remove everything that the other targets make
	rm -rf $(VENV) build dist site $(DEMO) *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.made:
	@python="$(PYTHON)"; \
	test -n "$$python" || { \
		echo "error: vocabkit needs Python 3.11 or newer, and none is on the PATH" >&2; \
		echo "hint: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }; \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $$python is not Python 3.11 or newer" >&2; exit 2; }; \
	"$$python" -m venv --clear $(VENV)
	@touch $@

# Two stamps, so that `make demo` does not install what only developers need.
$(VENV)/.runtime: $(VENV)/.made $(INSTALL_INPUTS)
	@echo "installing vocabkit into $(VENV)"
	@$(PIP) --editable '.[sample,plots,torch]'
	@touch $@

$(VENV)/.development: $(VENV)/.made $(INSTALL_INPUTS)
	@echo "installing vocabkit and its development tools into $(VENV)"
	@$(PIP) --editable '.[sample,torch,hf,encode,s3,plots,notebooks,docs,dev]'
	@touch $(VENV)/.runtime $@

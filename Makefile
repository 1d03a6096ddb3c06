# Each target sets up what it needs: a venv with pinned, hash-checked dependencies.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.gateproof-$(shell { cat constraints.txt evidence/pyproject.toml harness/pyproject.toml; $(PYTHON) -V; } | sha256sum | cut -c1-16)
EVIDENCE ?= reports
# Of the benchmarks alone: a plugin that others bring must not be in the environment of the gates.
BENCH := $(VENV)/bench
BENCH_SETUP := $(BENCH)/.gateproof-$(shell { cat constraints.txt constraints-bench.txt evidence/pyproject.toml harness/pyproject.toml; $(PYTHON) -V; } | sha256sum | cut -c1-16)
BENCH_ARGS ?=
# One process a core; make gates GATES_ARGS= runs the checks one after another.
GATES_ARGS ?= -n auto

.PHONY: gates test mutants check bench fuzz format docs workflows setup clean help

help:  ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

gates: $(SETUP)  ## judge the reference system and seal the evidence under reports/
	$(BIN)/pytest gates/ --evidence-out $(EVIDENCE) $(GATES_ARGS)

test: $(SETUP)  ## run the tests of the project itself, tier by tier
	$(BIN)/pytest tests/unit -n auto
	$(BIN)/pytest tests/integration -n 3 --dist loadfile
	$(BIN)/pytest tests/acceptance -n 3 --dist loadfile --no-loadscope-reorder --durations 12
	$(BIN)/pytest tests/browser

mutants: $(SETUP)  ## blank every check and empty every fault of all gates: nothing may be proven
	GATEPROOF_MUTANTS=gates/ $(BIN)/pytest tests/acceptance/test_mutants.py

check: $(SETUP) docs workflows  ## ruff, mypy strict, import contracts, docs, workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(BENCH_SETUP)  ## feed the parsers of a bundle what no sealer writes, a minute each
	$(BENCH)/bin/python -m tests.bench.fuzz $(FUZZ_ARGS)

bench: $(BENCH_SETUP)  ## measure recording, sealing, verifying and the system's tasks beside other tools
	$(BENCH)/bin/python -m tests.bench.recording $(BENCH_ARGS)
	$(BENCH)/bin/python -m tests.bench.hashing $(BENCH_ARGS)
	$(BENCH)/bin/python -m tests.bench.page
	$(BENCH)/bin/python -m tests.bench.broker $(BENCH_ARGS)

docs: $(SETUP)  ## hold the documentation against the code: generated pages, links
	$(BIN)/pytest -q tests/unit/test_docs.py

workflows: $(SETUP)  ## hold the workflows against their schema, and audit them
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --no-progress --quiet --pedantic --strict-collection .github/workflows

setup: $(SETUP)  ## only install what the other targets need

format: $(SETUP)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what the targets made; bundles under reports/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp's name holds the digest of what is installed: another pin, another set-up.
$(SETUP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed: name one with make PYTHON=python3.12 ..."; exit 1; }
	@test "$$($(BIN)/python -V 2>/dev/null)" = "$$($(PYTHON) -V)" || $(PYTHON) -m venv --clear $(VENV) \
		|| { echo "python3 -m venv failed: install the package python3-venv"; exit 1; }
	@echo "installing the pinned dependencies into $(VENV) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e evidence -e harness
	@rm -f $(VENV)/.gateproof-* && touch $@

# All that the other targets use, and what the benchmarks hold it beside.
$(BENCH_SETUP): $(SETUP)
	$(BIN)/python -m venv --clear $(BENCH)
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> $$($(BENCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/gateproof.pth
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints-bench.txt
	@touch $@

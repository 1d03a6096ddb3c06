# Each target first creates the venv that it needs, from complete, hash-locked sets of packages.
#   make gates PYTHON=python3.13            another Python (3.11 or later)
#   make gates WHEELHOUSE=wheelhouse        without an index, from the wheels of `make wheelhouse`
#   make gates GATES=gates/rls GATES_ARGS=  one gate, in one process
PYTHON ?= python3
# Set on the command line only: a variable of the caller's environment must not name what is cleared.
VENV := .venv
BIN := $(VENV)/bin
EVIDENCE ?= reports
GATES := gates/
# The plugin chooses the number of processes; make gates GATES_ARGS= runs the checks in one.
GATES_ARGS ?= -n auto
# Two for each of two cores, since these tests often wait for a process.
TEST_PROCESSES ?= 4
BENCH_ARGS ?=
# make mutate MUTATE_ARGS="--sample 100 --seed 1"
MUTATE_ARGS ?=
WHEELHOUSE :=
# Images of Python often set it. Then each of the many short runs in the tests compiles the sources that
# it imports, which is half of its processor time.
unexport PYTHONDONTWRITEBYTECODE
# A release of pip to install with, instead of the one of the Python installation.
PIP :=

# --no-deps: the sets are complete, so that a later release cannot change the installed packages.
INSTALL = -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes \
    $(if $(WHEELHOUSE),--no-index --find-links $(WHEELHOUSE))
INSTALL_FAILED = { echo "make: the packages could not be installed; docs/how-to/install.md has the ways" \
    "behind a proxy, with another index, and without network" >&2; exit 1; }

# The name of a stamp has the digest of the pins: a changed pin leads to a new installation. Python is
# started once for all stamps, since each `make` of the gates and tests waits for it.
PYTHON_DIGEST := $(shell $(PYTHON) -V 2>&1 | sha256sum)
stamp = .gateproof-$(1)-$(shell { cat $(2) evidence/pyproject.toml harness/pyproject.toml; echo '$(PYTHON_DIGEST)'; echo $(PIP); } 2>&1 | sha256sum | cut -c1-16)
SETUP := $(VENV)/$(call stamp,gates,requirements.txt requirements-conformance.txt)
DEV_SETUP := $(VENV)/$(call stamp,dev,requirements.txt requirements-dev.txt requirements-sdist.txt)
# The mock servers of the reference system: Prism from npm, with Node of the PATH or of a wheel.
MOCKS_LOCK := $(wildcard system/mocks/package-lock.json)
MOCKS_SETUP := $(if $(and $(SETUP),$(MOCKS_LOCK)),$(VENV)/$(call stamp,mocks,requirements-node.txt $(MOCKS_LOCK)))
# A separate venv: pytest plugins of the benchmarks must not be in the environment of the gates.
BENCH := $(VENV)/bench
BENCH_SETUP := $(VENV)/$(call stamp,bench,requirements.txt requirements-dev.txt requirements-sdist.txt requirements-bench.txt)

.PHONY: gates test mutate blanked-checks examples signoffs storm takeovers check bench fuzz format docs english requirements types workflows setup wheels wheelhouse clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

gates: $(SETUP) $(MOCKS_SETUP)  ## judge the reference system and seal the evidence under reports/
	$(BIN)/pytest $(GATES) --evidence-out $(EVIDENCE) $(GATES_ARGS)

test: $(DEV_SETUP) $(MOCKS_SETUP)  ## run the tests of the project itself, tier by tier
	$(BIN)/pytest tests/unit -n auto --dist loadgroup
	$(BIN)/pytest tests/acceptance tests/integration -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --durations 12
	$(BIN)/pytest tests/browser

mutate: $(SETUP) $(MOCKS_SETUP)  ## make small defects of the reference system, and list those that no check sees
	$(BIN)/gateproof mutate --out $(EVIDENCE)/mutation $(MUTATE_ARGS)

blanked-checks: $(DEV_SETUP)  ## remove all assertions, then all faults, of all gates: nothing may be proven
	GATEPROOF_BLANKED=gates/ $(BIN)/pytest tests/acceptance/test_blanked_checks.py

examples: $(DEV_SETUP) $(MOCKS_SETUP)  ## judge the examples with the whole pack and all proofs, the draft of the reference system, and all its gates in containers
	GATEPROOF_EXAMPLES=all $(BIN)/pytest tests/acceptance/test_example.py tests/acceptance/test_draft.py -k "whole_pack or most_of_the_pack"
	GATEPROOF_ENVIRONMENTS=all $(BIN)/pytest tests/acceptance/test_environments.py

signoffs: $(DEV_SETUP)  ## sign phases of the last bundle off with two keys each, on a copy
	GATEPROOF_BUNDLE=$(abspath $(EVIDENCE))/latest $(BIN)/pytest tests/acceptance/test_signed_off_phases.py

takeovers: $(DEV_SETUP) $(MOCKS_SETUP)  ## make random changes to the system, and look for results that would be taken over although they differ
	$(BIN)/python -m tests.bench.takeovers --bundle $(EVIDENCE)/latest $(BENCH_ARGS)

storm: $(DEV_SETUP)  ## run 2,000 tasks while faults stop workers and PostgreSQL; make test runs 500
	GATEPROOF_FAULTS_SCALE=4 $(BIN)/pytest tests/acceptance/test_nothing_is_lost.py

check: $(DEV_SETUP) docs english requirements types workflows  ## ruff, mypy strict, import contracts, docs, plain English, pinned sets, workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

fuzz: $(BENCH_SETUP)  ## feed malformed input to the parsers of a bundle, a minute each
	$(BENCH)/bin/python -m tests.bench.fuzz $(FUZZ_ARGS)

bench: $(BENCH_SETUP)  ## compare recording, sealing, verifying and the system's tasks with other tools
	$(BENCH)/bin/python -m tests.bench.recording $(BENCH_ARGS)
	$(BENCH)/bin/python -m tests.bench.hashing $(BENCH_ARGS)
	$(BENCH)/bin/python -m tests.bench.rejudging $(BENCH_ARGS)
	$(BENCH)/bin/python -m tests.bench.page
	$(BENCH)/bin/python -m tests.bench.broker $(BENCH_ARGS)
	$(BENCH)/bin/python -m tests.bench.ingestion $(BENCH_ARGS)

docs: $(DEV_SETUP)  ## check the documentation: generated pages, links
	$(BIN)/pytest -q tests/unit/test_docs.py tests/unit/test_docs_examples.py

english: $(DEV_SETUP)  ## refuse the phrases of tests/plain_english.py, and name what to write instead
	$(BIN)/python -m tests.plain_english

requirements: $(DEV_SETUP)  ## check that every pinned set is complete and is what is installed
	$(BIN)/pytest -q tests/unit/test_requirements.py

types: $(DEV_SETUP)  ## mypy strict; what verifies, for Windows too
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 evidence/gateproof_evidence

workflows: $(DEV_SETUP)  ## check the workflows with their schema, and audit them
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --no-progress --quiet --pedantic --strict-collection .github/workflows

setup: $(SETUP) $(MOCKS_SETUP)  ## only install the packages for `make gates` and the command `gateproof`

wheels: $(SETUP)  ## build the wheels of both distributions in dist/
	cd evidence && $(abspath $(BIN))/python -m hatchling build --target wheel --directory ../dist
	cd harness && $(abspath $(BIN))/python -m hatchling build --target wheel --directory ../dist

wheelhouse: $(DEV_SETUP)  ## collect the wheels of all sets in wheelhouse/, for machines without network
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
		--only-binary :all: --dest wheelhouse -r requirements.txt -r requirements-dev.txt
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
		--only-binary :all: --dest wheelhouse -r requirements-conformance.txt
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
		--no-build-isolation --dest wheelhouse -r requirements-sdist.txt
	@echo "$$(ls wheelhouse | wc -l) wheels, $$(du -sm wheelhouse | cut -f1) MB in wheelhouse/ for $$($(BIN)/python -V)"

format: $(DEV_SETUP)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the files of the targets; bundles under reports/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(SETUP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Python 3.11 or later is needed, got $$($(PYTHON) -V 2>&1): name one with make PYTHON=python3.12 ..." >&2; exit 1; }
	@test ! -e $(VENV) -o -f $(VENV)/pyvenv.cfg || test -z "$$(ls -A $(VENV))" \
		|| { echo "VENV: got $(VENV), which has other files, expected a venv or a new folder: name another" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { echo "$(PYTHON) -m venv failed: install the package python3-venv" >&2; exit 1; }
	@$(if $(PIP),$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps pip==$(PIP))
	@echo "installing $$(grep -c == requirements.txt) pinned packages into $(VENV), about half a minute ..."
	@$(BIN)/python $(INSTALL) --only-binary :all: -r requirements.txt || $(INSTALL_FAILED)
	@$(BIN)/python $(INSTALL) --only-binary :all: --target $(VENV)/conformance -r requirements-conformance.txt || $(INSTALL_FAILED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e evidence -e harness
	@$(BIN)/python -m pip check
	@touch $@

# Without Node or npm's registry all else works: the gate of the mock servers is then not checked.
$(MOCKS_SETUP): $(SETUP)
	@$(BIN)/python -m system.mocks install --check-node 2>/dev/null || { echo "installing Node, 61 MB ..."; \
		$(BIN)/python $(INSTALL) --only-binary :all: -r requirements-node.txt || true; }
	@if $(BIN)/python -m system.mocks install; then rm -f $(VENV)/.gateproof-mocks-*; touch $@; fi

$(DEV_SETUP): $(SETUP)
	@echo "installing $$(grep -c == requirements-dev.txt) more for development ..."
	@$(BIN)/python $(INSTALL) --only-binary :all: -r requirements-dev.txt || $(INSTALL_FAILED)
	@$(BIN)/python $(INSTALL) --no-build-isolation -r requirements-sdist.txt || $(INSTALL_FAILED)
	@$(BIN)/python -m pip check
	@rm -f $(VENV)/.gateproof-dev-* && touch $@

# The packages of the other targets, and the tools that the benchmarks compare with.
$(BENCH_SETUP): $(DEV_SETUP)
	@$(BIN)/python -m venv --clear $(BENCH)
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> $$($(BENCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/gateproof.pth
	@echo "installing $$(grep -c == requirements-bench.txt) more for the benchmarks ..."
	@$(BENCH)/bin/python $(INSTALL) --only-binary :all: -r requirements-bench.txt || $(INSTALL_FAILED)
	@rm -f $(VENV)/.gateproof-bench-* && touch $@

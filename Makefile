# The two commands of the README are `make demo` and `make test`; `make help` lists all.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# An S3 server for tests, in an environment of its own: its libraries want other versions than ours.
STORE := .venv/store
# Tests start many processes: each would compile all modules anew where bytecode is not kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test tests check test-slurm campaign bench gpu-check gpu-wheels thorough lint types format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(INSTALLED)  ## train a small phase 12 on synthetic speech and print the results, errors of pitch included (about 3 minutes)
	$(BIN)/python train.py +experiment=demo again=true 'trainer.summary_quality=[f0]'

# Types are looked at on one core, and tests begin on another.
test: lint  ## lint, formatting, types, one test of each documented behaviour (9 minutes on two cores)
	@$(MAKE) --no-print-directory --jobs=2 types tests

tests: $(INSTALLED)
	$(BIN)/python -m pytest $(only)

thorough: $(INSTALLED)  ## the same behaviours with more inputs, kill points and sizes; CI runs both
	$(BIN)/python -m pytest -m thorough

check: lint  ## between commits: lint, types and the quickest tests (90 s on two cores)
	@$(MAKE) --no-print-directory --jobs=2 types tests only='-m "not slow and not thorough"'

test-slurm: $(INSTALLED)  ## the SLURM tests on a real SLURM that is installed on this machine (Debian, root)
	tests/slurm/with_slurm.sh env SNAC_EXP_TEST_SLURM=1 $(BIN)/python -m pytest -n0 -m "" --durations=0 -v tests/slurm \
		"tests/docs/test_commands.py::test_the_commands_of_a_page_run_in_order[sweeps]"

campaign: $(INSTALLED)  ## kill 100 trainings, damage 10,000 files, print the outcomes (about 15 minutes on one core)
	$(BIN)/python -m tests.campaigns

bench: $(INSTALLED)  ## benchmarks against plain implementations, under 10 minutes on 2 cores; fails if one misses its floor
	$(BIN)/python -m benchmarks.all

# A machine with a GPU may have PyTorch and no network: its own Python will do where there is no .venv.
gpu-check:  ## correctness, speed and kernel tuning on a GPU, in 3 calls of under 9 minutes; small on a CPU: args="--device cpu --small"
	@test -x $(BIN)/python || $(PYTHON) -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("torch"))' \
		|| $(MAKE) $(INSTALLED)
	@if test -x $(BIN)/python; then python=$(BIN)/python; else python=$(PYTHON); fi; \
		$$python -W ignore -m benchmarks.gpu_check $(args)

gpu-wheels: $(INSTALLED)  ## collect wheels for gpu-check on a machine without a network, in gpu-wheels/; add others: args="pyarrow"
	$(BIN)/python -m benchmarks.gpu_check wheels $(args)

lint: $(INSTALLED)  ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)  ## mypy, strict, on the package and the benchmarks
	$(BIN)/mypy

format: $(INSTALLED)  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and caches; outputs/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Made again only when what is to be installed changed.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name it with make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	# 36 MB, for their models and Praat alone: what two of them import besides, and its compiler, nothing here needs.
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps speechmos resemblyzer praat-parselmouth
	test -x $(STORE)/bin/moto_server || ($(PYTHON) -m venv $(STORE) && $(STORE)/bin/python -m pip install --quiet 'moto[server]==5.2.5')
	touch $(INSTALLED)

# Every target sets up .venv by itself: Python 3.11 to 3.13 and make are all a machine needs.
SHELL := /bin/sh
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# As many test processes as WORKERS says, one thread each, so that two cores are not asked for four.
WORKERS ?= 2
TEST_ENV := OMP_NUM_THREADS=1 XLA_FLAGS="--xla_cpu_multi_thread_eigen=false $$XLA_FLAGS" JAX_PLATFORMS=$${JAX_PLATFORMS:-cpu}
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Other people than the demo's, whose test people it must not have seen.
PHANTOM_MODEL := --config.train.start_from= "--config.train.stages=('autodecoder', 'rule', 'joint')" \
  --config.data.phantom_oct.seed=1 "--config.data.phantom_oct.people=(24, 6, 1)" \
  --config.train.autodecoder.steps=4000 --config.train.rule.steps=60 --config.train.joint.steps=500 --config.doubt.bscans=12

.DEFAULT_GOAL := help
.PHONY: help demo phantom-model test test-all lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

demo: .venv/installed ## phantom eyes, training, adaptation, report: the whole of it in minutes
	@$(BIN)/inr-jax demo

# Small enough for the package; --model=phantom adapts with it, and marks whatever it answers.
phantom-model: .venv/installed ## train and export the small model that comes with the package anew
	rm -rf runs/phantom_model
	@$(BIN)/inr-jax train --config=configs/demo.py --workdir=runs/phantom_model $(PHANTOM_MODEL)
	@$(BIN)/inr-jax export runs/phantom_model inr_jax/shipped/phantom --licence=Apache-2.0

test: lint ## ruff, mypy and the tests
	@$(PYTEST)

test-all: lint ## the same with the slow tests, of programs compiled as users compile them
	@$(PYTEST) -m "slow or not slow" --optimised

lint: .venv/installed-dev ## ruff and mypy alone
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

clean: ## remove .venv, caches and the demo's output
	rm -rf .venv demo_output .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than pyproject.toml once its dependencies are installed.
.venv/installed: pyproject.toml | .venv/created
	@echo "installing inr_jax into .venv (some minutes the first time)"
	@$(PIP) --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/created
	@echo "installing inr_jax and its test tools into .venv (some minutes the first time)"
	@$(PIP) --editable ".[dev]"
	@touch $@ .venv/installed

.venv/created:
	@for python in python3.11 python3.12 python3.13 python3 python; do \
	  $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue; \
	  $$python -m venv .venv && touch $@; exit; \
	done; \
	echo "make: expected Python 3.11, 3.12 or 3.13 with venv (Debian: apt-get install python3-venv); found none" >&2; exit 1

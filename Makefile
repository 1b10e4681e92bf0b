# The few words a newcomer types. Everything is set up in .venv; nothing is installed by hand.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
CARGO := $(shell command -v cargo 2>/dev/null)
RUST := cd workers-rs &&

# Tests of what NPUFLEET_NATIVE does not change: frames, telemetry, workers, brokers, payloads, and jobs, where those that
# it does change something for name their transport. tests/integration/test_jobs.py stays, as one look at jobs without it.
CORE_ALIKE := $(addprefix tests/unit/test_,wire_* operations_* telemetry_* worker_* arena_* channel_* arrows.py \
	public_names.py errors.py native_[fjst]*) $(addprefix tests/integration/test_,worker_* broker_* channel* payloads_* \
	jobs_* agents.py models_memory.py models_devices.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-rust test-python test-pure test-slow chaos check lint-rust lint-python deny contract format bench docs clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## create .venv, build the compiled core when Rust is here, install everything
	@$(PYTHON) ops/setup.py

demo: setup ## start a local fleet and run the main job on real input
	@$(BIN)/npufleet demo

test: setup test-rust test-python test-pure ## every fast test, on the compiled core and without it

test-rust: setup
ifdef CARGO
	@$(RUST) cargo test --quiet --workspace --exclude npufleet-native
else
	@echo "no cargo: the Rust tests are not run"
endif

test-python: setup
	@$(BIN)/python -m pytest

test-pure: setup
	@NPUFLEET_NATIVE=off $(BIN)/python -m pytest tests/unit tests/integration --default-transport \
		$(CORE_ALIKE:%=--ignore-glob='$(CURDIR)/%')

test-slow: setup ## the tests that take long or build tools first (Jaeger, the nats CLI)
	@$(BIN)/python -m pytest -m slow --timeout 3600

chaos: setup ## the long fault campaign: 300 faults; CHAOS_SEED=n draws others, CHAOS_ENGINE=rust|both other workers
	@NPUFLEET_CHAOS_FAULTS=$${CHAOS_FAULTS:-300} NPUFLEET_CHAOS_SEED=$${CHAOS_SEED:-$$RANDOM} NPUFLEET_CHAOS_ENGINE=$${CHAOS_ENGINE:-python} $(BIN)/python -m pytest -s -m 'slow or not slow' tests/chaos

check: setup lint-python lint-rust deny ## every lint and type check

lint-python: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python broker/contract/generate.py --check

lint-rust:
ifdef CARGO
	@$(RUST) cargo fmt --all --check
	@$(RUST) cargo clippy --quiet --workspace --all-targets -- -D warnings
endif

deny:
ifdef CARGO
	@command -v cargo-deny >/dev/null || cargo install --quiet --locked cargo-deny@0.20.2
	@$(RUST) cargo deny --log-level error check bans licenses sources
endif

contract: setup ## write what is derived from broker/contract/contract.toml
	@$(BIN)/python broker/contract/generate.py

format: setup ## format both languages
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .
ifdef CARGO
	@$(RUST) cargo fmt --all
endif

bench: setup ## measure everything in one run; writes tests/bench/out/latest.json and the README's table
	@$(BIN)/python -m tests.bench && $(BIN)/python -m tests.bench.readme

clean: ## remove what was built
	@rm -rf .venv workers-rs/target tests/bench/out

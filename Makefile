# Everything starts here. Nothing but python3 (3.11 or later), cargo and node need be there first: each target
# makes what it needs, and a second run does only what has changed since.

PORT ?= 4437
DATA ?= ./data
ARGS ?=
PYTHON ?= python3
FUZZ_EXAMPLES ?= 2000
FUZZ_CASES ?= 20000
FUZZ_SECONDS ?= 60
FUZZ_ROUNDS ?= 12
STRIP ?= --strip
DIST ?= dist
BENCH ?=

UV_VERSION := 0.13.8
UV := .cache/uv-$(UV_VERSION)/bin/uv
BIN := .venv/bin
# The extension, the Rust tests and clippy share one profile, one target directory and what maturin tells PyO3, so
# that no dependency is compiled twice.
CARGO_FLAGS := --workspace --release --locked
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
AS_MATURIN = PYO3_BUILD_EXTENSION_MODULE=1 PYO3_CONFIG_FILE="$$(ls -t $(TARGET)/maturin/pyo3-config-*.txt | head -n 1)"
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)
CHECKED := python tests bench tools examples
# On the stable toolchain: cargo-fuzz asks for flags that only RUSTC_BOOTSTRAP allows there.
CARGO_FUZZ_VERSION := 0.13.1
CARGO_FUZZ := .cache/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
# Tests of full disks mount small ones: who may not do so is given a namespace where he may.
MAY_MOUNT = $(shell [ "$$(id -u)" = 0 ] || { unshare -Urm true 2>/dev/null && echo unshare -Urm; })
AS_FUZZ = RUSTC_BOOTSTRAP=1 $(CARGO_FUZZ)

export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export HYPOTHESIS_PROFILE ?= ci

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup serve test lint format test-rust test-python wheel fuzz fuzz-guided bench bench-quick clean

help: ## show this text
	@echo 'usage: make TARGET'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'variables: PORT=$(PORT) DATA=$(DATA) ARGS="more flags of serve" (serve); FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) FUZZ_CASES=$(FUZZ_CASES) FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_ROUNDS=$(FUZZ_ROUNDS) (fuzz)'

setup: $(BIN)/durable-streams ## build the extension (release) and the command .venv/bin/durable-streams

serve: setup ## serve DATA on PORT
	@exec $(BIN)/durable-streams serve --data '$(DATA)' --port '$(PORT)' $(ARGS)

test: lint test-rust test-python ## lint, then every test: Rust, Python, the official conformance suite

lint: setup ## formatting, types, the stub of the extension, clippy, file lengths
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	MYPYPATH=python $(BIN)/python -m mypy.stubtest durastream._native
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo fmt --manifest-path bench/load/Cargo.toml --check
	cargo clippy --manifest-path bench/load/Cargo.toml --target-dir $(TARGET)/load --release --locked --all-targets --quiet -- -D warnings
	$(AS_MATURIN) cargo clippy $(CARGO_FLAGS) --all-targets --quiet -- -D warnings
	$(BIN)/python tools/check_lengths.py

format: $(BIN)/.dependencies ## rewrite the sources as lint wants them
	$(BIN)/ruff check --fix-only $(CHECKED)
	$(BIN)/ruff format $(CHECKED)
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
	cargo fmt --manifest-path bench/load/Cargo.toml

test-rust: setup ## only the Rust tests
	$(AS_MATURIN) $(BIN)/python tools/cargo_test.py $(CARGO_FLAGS)

test-python: setup tests/conformance/node_modules/.package-lock.json ## only the Python tests and the conformance suite
	$(MAY_MOUNT) $(BIN)/pytest

wheel: $(BIN)/.dependencies ## a wheel in dist/ for projects of your own: pip install dist/durastream-*.whl
	PATH="$(CURDIR)/$(dir $(UV)):$$PATH" $(BIN)/maturin build --release --locked $(STRIP) --out $(DIST)

fuzz: setup fuzz-guided ## the guided fuzzers, then the property tests for long; what fails is kept in fuzz/
	PROPTEST_CASES=$(FUZZ_CASES) DURASTREAM_CRASH_ROUNDS=$(FUZZ_ROUNDS) $(AS_MATURIN) $(BIN)/python tools/cargo_test.py $(CARGO_FLAGS)
	HYPOTHESIS_PROFILE=fuzz FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/pytest -m 'hypothesis or property' --timeout=0

fuzz-guided: $(CARGO_FUZZ) ## only the guided fuzzers, each for FUZZ_SECONDS
	$(AS_FUZZ) build --target-dir $(TARGET)/fuzz
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/found/$$target fuzz/corpus/$$target; \
		$(AS_FUZZ) run --target-dir $(TARGET)/fuzz $$target fuzz/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=30 -rss_limit_mb=3000 -verbosity=0 -print_final_stats=1 || exit 1; \
	done

bench: setup ## the measurements of docs/performance.md, beside other servers (about 45 minutes)
	$(BIN)/python -m bench $(BENCH)

bench-quick: setup ## a few of them for a second each (about a minute, once the other servers are built)
	$(BIN)/python -m bench --quick $(BENCH)

clean: ## remove everything that was built or fetched (never data)
	rm -rf .venv .cache target dist tests/conformance/node_modules
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis python/durastream/_native*.so
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'python3 must be 3.11 or later; name one with PYTHON=/path/to/python3.x' >&2; exit 1; }
	@command -v cargo >/dev/null || { echo 'cargo is missing: install Rust' >&2; exit 1; }
	$(PYTHON) -m venv $(dir $(@D))
	$(dir $(@D))bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(BIN)/.dependencies: $(UV) uv.lock pyproject.toml
	@$(UV) sync --quiet --locked --no-install-project --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

$(BIN)/durable-streams: $(BIN)/.dependencies $(RUST_SOURCES)
	PATH="$(CURDIR)/$(dir $(UV)):$$PATH" $(BIN)/maturin develop --release --locked --uv
	@touch $@

$(CARGO_FUZZ):
	cargo install --quiet --locked --version $(CARGO_FUZZ_VERSION) --root .cache/cargo-fuzz-$(CARGO_FUZZ_VERSION) cargo-fuzz

tests/conformance/node_modules/.package-lock.json: tests/conformance/package.json tests/conformance/package-lock.json
	@command -v npm >/dev/null || { echo 'npm is missing: install Node.js 20 or later' >&2; exit 1; }
	@# Not `npm ci`: npm 11 writes no lock entries for msgpackr's optional packages of other systems, then misses them.
	npm install --prefix tests/conformance --no-save --no-audit --no-fund --no-progress --loglevel=error
	@touch $@

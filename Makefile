# make up | test | demo | bench: each installs what it lacks (and says so), builds, and runs. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Outside the clone, so that a clone stays small and two clones share what they built. Set it to have it elsewhere.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(or $(HOME),/root)/.cache)/gnomon/target
CARGO ?= cargo
GNOMON := $(CARGO_TARGET_DIR)/release/gnomon
SKIPPED := $(CARGO_TARGET_DIR)/skipped
ROOT := $(filter 0,$(shell id -u))

.PHONY: help up demo bench test build install fmt lint unit netns deny fuzz needs-% tools

help: ## What can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 9

up: needs-up build ## Run every role here, on defaults: make up ARGS='--probe 10.0.0.0/24'
	@exec $(GNOMON) up $(ARGS)

demo: needs-demo build ## Show the whole product in namespaces of its own, each claim checked
	@exec $(GNOMON) demo $(ARGS)

bench: needs-bench build ## Measure this machine, and print a table
	@exec packaging/bench $(ARGS)

build: needs-build ## Build the released command, and the small executables of the two roles with a capability
	@$(CARGO) build --release --locked -p gnomon -p gnomon-sensor -p gnomon-enforcer
	@echo "built $(GNOMON), and beside it gnomon-sensor and gnomon-enforcer"

# DESTDIR is for packages. The settings file is left alone where there is one.
install: build ## Install executables, settings and systemd units: make install DESTDIR=/tmp/package
	install -D -t $(DESTDIR)/usr/bin $(GNOMON) $(GNOMON)-sensor $(GNOMON)-enforcer
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/system packaging/systemd/*.service
	install -D -m 644 packaging/systemd/gnomon.sysusers $(DESTDIR)/usr/lib/sysusers.d/gnomon.conf
	@test -e $(DESTDIR)/etc/gnomon/gnomon.toml || install -D -m 644 packaging/config/gnomon.toml $(DESTDIR)/etc/gnomon/gnomon.toml

test: needs-test ## Everything that is checked: format, lints, tests of all tiers, dependencies
	@mkdir -p $(CARGO_TARGET_DIR) && rm -f $(SKIPPED)
	@$(MAKE) --no-print-directory fmt lint unit deny
	@if [ -s $(SKIPPED) ]; then echo "make test: passed; $$(wc -l < $(SKIPPED)) part(s) could not run here:"; sed 's/^/  - /' $(SKIPPED); \
	else echo "make test: passed, every part ran"; fi

fmt: ## Is everything formatted?
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) fmt --all --check

lint: ## Does clippy object?
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# Namespaces, real nft and real servers need root; everything else runs for anyone.
ifdef ROOT
unit: export GNOMON_NETNS := 1
unit: export GNOMON_BIN := $(CARGO_TARGET_DIR)/debug/gnomon
endif
unit: ## Tests of all tiers that can run here
	@test -n "$(ROOT)" || echo "network namespaces: not root (run make test as root)" >> $(SKIPPED)
	@command -v tshark >/dev/null || echo "a second opinion on TCP and HTTP/1: tshark is not installed" >> $(SKIPPED)
	@if ! $(CARGO) nextest --version >/dev/null 2>&1; then echo "needs: building cargo-nextest (some minutes, once)"; \
	  $(CARGO) install --locked --quiet cargo-nextest || true; fi; \
	if $(CARGO) nextest --version >/dev/null 2>&1; then $(CARGO) nextest run --locked --workspace --no-fail-fast; \
	else echo "cargo-nextest cannot be installed here: using cargo test, one at a time"; \
	  $(CARGO) test --locked --workspace --no-fail-fast -- --test-threads=1; fi

fuzz: ## Search for inputs that break a parser, each for a while (nightly, cargo-fuzz): make fuzz SECONDS_EACH=60 TARGETS='dns tls'
	@exec tests/fuzz/run

deny: ## Licences, advisories, duplicates and sources of dependencies
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then echo "needs: building cargo-deny (two minutes, once)"; \
	  if ! $(CARGO) install --locked --quiet cargo-deny; then \
	    echo "dependencies' licences and advisories: cargo-deny could not be installed" >> $(SKIPPED); exit 0; fi; fi; \
	$(CARGO) deny --locked check bans licenses sources; \
	if $(CARGO) deny --locked fetch db >/dev/null 2>&1; then $(CARGO) deny --locked check advisories; \
	else echo "dependencies' advisories: the advisory database cannot be fetched from here" >> $(SKIPPED); fi

tools: ## Install cargo-nextest and cargo-deny (some minutes: both are built here)
	$(CARGO) install --locked cargo-nextest cargo-deny

needs-%:
	@packaging/install-needs $*

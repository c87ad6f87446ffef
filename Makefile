# make demo: a good release and a bad one, told as it happens; make demo-cluster: on a real cluster.
# make test: everything that guards main. make test-full: what does not fit an hour.
# Both set up what they need on a fresh machine with Rust and Go; Debian packages are
# installed when run as root.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := test

E2E := target/debug/crossfade-e2e
BINARIES := -p crossfade-controller -p crossfade-cli -p crossfade-e2e

# $(call stage,NAME,COMMAND): runs COMMAND and says how long it took.
define stage
	@started=$$(date +%s); echo "== $(1)"; \
	if ! { $(2); }; then echo "== $(1): FAILED after $$(( $$(date +%s) - started )) s"; exit 1; fi; \
	echo "== $(1): $$(( $$(date +%s) - started )) s"
endef

# $(call with-cluster,ARGUMENTS): a cluster of its own, taken down whatever comes of it, so that the
# one of `make cluster` is left alone.
with-cluster = trap '$(E2E) --cluster test cluster down' EXIT; $(E2E) --cluster test $(1)

# $(call with-controllers,COMMAND): COMMAND with KUBECONFIG on a control plane of its own without a node,
# taken down whatever comes of it.
with-controllers = trap '$(E2E) --cluster actors cluster down' EXIT; \
	$(E2E) --cluster actors cluster up --controllers-only && $(E2E) --cluster actors cluster exec -- $(1)

# $(call compare,ARGUMENTS): the fake API and a real API server without controllers, taken down whatever
# comes of it. It has a network of its own, so that the clusters beside it are not in its way.
compare = trap '$(E2E) --cluster conformance cluster down' EXIT; \
	config=$$($(E2E) --cluster conformance cluster up --api-only) && \
	$(E2E) --cluster conformance cluster exec -- target/debug/fakeapi-conformance --kubeconfig "$$config" \
	--manifests deploy/crds.yaml --manifests deploy/admission.yaml $(1)

.PHONY: test
test: format tidy lint unit worlds binaries conformance end-to-end

.PHONY: test-full
test-full: format tidy lint unit-random worlds-full binaries conformance-full
	$(call actors-stage)
	$(call stage,every scenario,$(call with-cluster,run --group 2))

# The simulator's Deployment and ReplicaSet controllers against the real ones, by the same random scripts.
define actors-stage
	$(call stage,building the comparison of the actors,cargo build --locked --quiet -p crossfade-simulator --features conformance --bin actors-conformance)
	$(call stage,actors and real controllers,$(call with-controllers,target/debug/actors-conformance --scripts 40))
endef

.PHONY: actors
actors: e2e-program
	$(call actors-stage)

.PHONY: e2e-program
e2e-program:
	$(call stage,the cluster's program,cargo build --locked --quiet -p crossfade-e2e)

# Whole worlds in virtual time, a fixed set of them; optimised, because they are simulations. The building
# is a stage of its own, so that one sees what the worlds themselves take.
WORLDS := --locked --quiet --profile worlds -p crossfade-simulator --features worlds

.PHONY: worlds worlds-build worlds-full
worlds-build:
	$(call stage,building the worlds,cargo test $(WORLDS) --test worlds --test regressions --no-run)
worlds: worlds-build
	$(call stage,simulated worlds,cargo test $(WORLDS) --test worlds --test regressions)

# Every scenario with a crash at every call, every planted bug, and two thousand random worlds.
worlds-full: worlds
	$(call stage,two thousand random worlds,cargo run $(WORLDS) --bin world-runner -- run --seeds 0..2000)
	$(call stage,planted bugs,cargo run $(WORLDS) --bin world-runner -- planted --seeds 2000)
	$(call stage,a crash at every call,cargo run $(WORLDS) --bin world-runner -- crash-everywhere)

# Drawn worlds at length: make many-worlds SEEDS=0..20000
SEEDS ?= 0..20000
.PHONY: many-worlds
many-worlds:
	$(call stage,worlds $(SEEDS),cargo run --locked --quiet --profile many-worlds -p crossfade-simulator --features worlds --bin world-runner -- run --seeds $(SEEDS))

# One process and no cluster: the shipped controller against an API in memory, real requests on loopback.
.PHONY: demo
demo:
	@cargo run --locked --quiet -p crossfade-cli --bin crossfade -- demo

.PHONY: demo-cluster
demo-cluster: binaries
	@$(call with-cluster,demo)

.PHONY: format
format:
	$(call stage,format,cargo fmt --all --check)

.PHONY: lint
lint:
	$(call stage,lints,cargo clippy --locked --workspace --all-targets --quiet -- -D warnings)

# Random tests have a fixed seed here, so that the same commit gives the same answer; `make test-full`
# draws new ones.
.PHONY: unit
unit: export PROPTEST_RNG_SEED := 20261123
unit:
	$(call stage,unit and golden tests,cargo test --locked --workspace --quiet)

.PHONY: unit-random
unit-random:
	$(call stage,unit and golden tests with new seeds,cargo test --locked --workspace --quiet)

.PHONY: tidy
tidy:
	$(call stage,tidy checks,cargo run --locked --quiet -p xtask -- tidy)

.PHONY: generate
generate:
	cargo run --locked --quiet -p xtask -- generate

.PHONY: binaries
binaries:
	$(call stage,binaries,cargo build --locked --quiet $(BINARIES))

# The fake API and a real API server, by the same random scripts; fixed ones, so that the same commit gives
# the same answer.
.PHONY: conformance conformance-full conformance-program
conformance-program: binaries
	$(call stage,the comparison's program,cargo build --locked --quiet -p crossfade-fakeapi --features conformance --bin fakeapi-conformance)
conformance: conformance-program
	$(call stage,the fake API beside a real one,$(call compare,--scripts 300 --no-shrink))
conformance-full: conformance-program
	$(call stage,the fake API beside a real one at length,$(call compare,--scripts 2000))

.PHONY: end-to-end
end-to-end:
	$(call stage,end to end on a real cluster,$(call with-cluster,run))

# The cluster stays up for a look; `make cluster-down` ends it.
.PHONY: cluster cluster-down
cluster:
	cargo run --locked --quiet -p crossfade-e2e -- cluster up
cluster-down:
	cargo run --locked --quiet -p crossfade-e2e -- cluster down

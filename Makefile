# The commands this project keeps. Each installs what it needs into .venv by itself.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHART_CRDS := charts/scopewright/files/crds
FAST := tests/unit tests/golden tests/plan
SLOW := tests/cluster tests/chart tests/replay tests/simulation tests/dev tests/conformance tests/examples tests/bench \
	tests/interop tests/fuzz tests/attacks

# Real processes on a machine that others share: in CI one that fails is tried once more, and the summary names it.
AGAIN := $(if $(filter true,$(CI)),--reruns 1 -r fER)

.PHONY: help lock demo test node image simulate fuzz check crds docs cluster bench clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

PIP := $(BIN)/pip --quiet --disable-pip-version-check

# What requirements/dev.txt pins, by its hashes, and nothing else: this package needs no network then.
$(VENV)/installed: pyproject.toml requirements/dev.txt
	@echo "installing into $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

lock:  ## pin what pyproject.toml asks for, under requirements/ (ARGS=--upgrade takes newer versions)
	@$(PYTHON) -m venv .lock && .lock/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
	@.lock/bin/python requirements/lock.py $(ARGS)

demo: $(VENV)/installed  ## the HR system, live: who may call what, and what is refused (ARGS=--check ends by itself)
	@$(BIN)/python -m examples.hr $(ARGS)

test: $(VENV)/installed  ## every test, on the real control plane (ARGS: some of them, as pytest has it)
ifdef ARGS
	@$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest --quiet --numprocesses 2 $(FAST)
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(AGAIN) $(SLOW)
endif

node: $(VENV)/installed  ## the chart and the HR system in Pods, on a node of its own (as root) or where KUBECONFIG says
	@$(BIN)/python -m pytest -rP tests/node

image: $(VENV)/installed  ## both images as archives under .image/, without a container engine (Dockerfile is the other way)
	@$(BIN)/python -m image

simulate: $(VENV)/installed  ## simulated months of everything that goes wrong: SEED=7 tells one, SEEDS=1..100 runs many
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED) --verbose,--seeds $(or $(SEEDS),1..100) --processes 2)

fuzz: $(VENV)/installed  ## 100,000 strange requests to a running issuer, some minutes (REQUESTS=…)
	@FUZZ_REQUESTS=$(or $(REQUESTS),100000) $(BIN)/python -m pytest -q tests/fuzz/test_requests.py

check: $(VENV)/installed  ## what a contributor runs: format, lint, types, rooms, generated files, unit tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m scopewright.api.crds --check crds
	@diff --recursive crds $(CHART_CRDS)
	@$(BIN)/python docs/timeline.py --check
	@$(BIN)/python docs/errors.py --check
	@$(BIN)/python docs/metrics.py --check
	@$(BIN)/python docs/licences.py --check
	@$(BIN)/python -m scopewright.issuer.openapi docs/openapi.yaml --check
	@$(BIN)/python -m pytest --quiet --numprocesses 2 $(FAST)

crds: $(VENV)/installed  ## write crds/*.yaml from the models, and the chart's copy
	@$(BIN)/python -m scopewright.api.crds crds
	@rm -f $(CHART_CRDS)/*.yaml && cp crds/*.yaml $(CHART_CRDS)/

docs: $(VENV)/installed  ## draw and write what is made from code and locks: rotation.svg, errors.md, metrics.md, …
	@$(BIN)/python docs/timeline.py
	@$(BIN)/python docs/errors.py
	@$(BIN)/python docs/metrics.py
	@$(BIN)/python docs/licences.py
	@$(BIN)/python -m scopewright.issuer.openapi docs/openapi.yaml

cluster: $(VENV)/installed  ## a real control plane on loopback; kubeconfig under .cluster/
	@$(BIN)/python -m tests.controlplane $(ARGS)

bench: $(VENV)/installed  ## every benchmark; figures under .bench/
	@$(BIN)/python -m bench $(ARGS)

clean:  ## forget everything that the commands above made here
	rm -rf $(VENV) .lock .cluster .bench .demo .image .mypy_cache .ruff_cache .pytest_cache

# The commands of this project. Each installs its dependencies into .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE := .site
CHART_CRDS := charts/scopewright/files/crds
FAST := tests/unit tests/golden tests/plan tests/rules
SLOW := tests/simulation tests/interop tests/gateway tests/conformance tests/bench tests/cluster tests/chart tests/browser tests/dev \
	tests/examples tests/pages tests/replay tests/sessions tests/fuzz tests/attacks

# Otherwise each process that starts would compile the whole package again.
unexport PYTHONDONTWRITEBYTECODE

# These tests run real processes on a shared machine: with CI=true a failed test is rerun once and listed in the summary.
RERUNS := $(if $(filter true,$(CI)),--reruns 1 -r fER)

.PHONY: help lock demo test node image simulate fuzz check lint crds docs screenshots docs-site venv cluster bench clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

PIP := $(BIN)/pip --quiet --disable-pip-version-check

# Installs the pinned packages of requirements/dev.txt by hash; the project itself is then installed without the network.
$(VENV)/installed: pyproject.toml requirements/dev.txt
	@echo "installing into $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

venv: $(VENV)/installed  ## install `scopewright` and the pinned development packages into .venv

lock:  ## pin the dependencies of pyproject.toml in requirements/ (ARGS=--upgrade: newer versions)
	@$(PYTHON) -m venv .lock && .lock/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
	@.lock/bin/python requirements/lock.py $(ARGS)

demo: $(VENV)/installed  ## run the HR example and show which calls are allowed and refused (ARGS=--check: exit at the end)
	@$(BIN)/python -m examples.hr $(ARGS)

test: $(VENV)/installed  ## run all tests on a real control plane (ARGS=…: arguments of pytest)
ifdef ARGS
	@$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest --quiet --numprocesses 2 $(FAST)
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile $(RERUNS) $(SLOW)
endif

node: $(VENV)/installed  ## test the chart and the HR example in Pods, on a temporary node (needs root) or the cluster of KUBECONFIG
	@$(BIN)/python -m pytest -rP tests/node

image: $(VENV)/installed  ## build both images as archives in .image/, without a container engine
	@$(BIN)/python -m image

simulate: $(VENV)/installed  ## run simulated months with injected faults (SEED=7: print one; SEEDS=1..100: run many)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED) --verbose,--seeds $(or $(SEEDS),1..100) --processes 2)

fuzz: $(VENV)/installed  ## send 100,000 generated requests to a running issuer; takes some minutes (REQUESTS=…)
	@FUZZ_REQUESTS=$(or $(REQUESTS),100000) $(BIN)/python -m pytest -q tests/fuzz/test_requests.py

check: lint  ## check format, lint, types, layers and generated files; run the unit tests
	@$(BIN)/python -m pytest --quiet --numprocesses 2 $(FAST)

lint: $(VENV)/installed  ## `check` without the tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/python -m scopewright.api.crds --check crds
	@diff --recursive crds $(CHART_CRDS)
	@$(BIN)/python docs/timeline.py --check
	@$(BIN)/python docs/flow.py --check
	@$(BIN)/python docs/errors.py --check
	@$(BIN)/python docs/metrics.py --check
	@$(BIN)/python docs/licences.py --check
	@$(BIN)/python docs/openapi.py --check
	@$(BIN)/mypy

crds: $(VENV)/installed  ## generate crds/*.yaml from the models, and the chart's copy
	@$(BIN)/python -m scopewright.api.crds crds
	@rm -f $(CHART_CRDS)/*.yaml && cp crds/*.yaml $(CHART_CRDS)/

docs: $(VENV)/installed  ## generate the pages from code and locks: rotation.svg, flow.svg, errors.md, metrics.md, …
	@$(BIN)/python docs/timeline.py
	@$(BIN)/python docs/flow.py
	@$(BIN)/python docs/errors.py
	@$(BIN)/python docs/metrics.py
	@$(BIN)/python docs/licences.py
	@$(BIN)/python docs/openapi.py

# The site has its own venv: neither the package nor its tests need these packages.
$(SITE)/venv/installed: requirements/docs.txt
	@echo "installing into $(SITE)/venv …"
	@$(PYTHON) -m venv $(SITE)/venv
	@$(SITE)/venv/bin/pip --quiet --disable-pip-version-check install --require-hashes --requirement requirements/docs.txt
	@touch $@

screenshots: $(VENV)/installed  ## write screenshots of the pages of users to docs/users, with Chromium (installs it as root)
	@$(BIN)/python -m tests.browser.screenshots docs/users desktop-light phone-dark

docs-site: $(SITE)/venv/installed  ## build the documentation site in .site/html; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(SITE)/venv/bin/mkdocs build --strict
	@echo "$(SITE)/html/index.html (with search: python3 -m http.server --bind 127.0.0.1 --directory $(SITE)/html)"

cluster: $(VENV)/installed  ## start a real control plane on loopback; its kubeconfig is in .cluster/
	@$(BIN)/python -m tests.controlplane $(ARGS)

bench: $(VENV)/installed  ## run the benchmarks; figures are written to .bench/ (ARGS=…: names and options)
	@$(BIN)/python -m bench $(ARGS)

clean:  ## delete everything that these commands created in this directory
	rm -rf $(VENV) $(SITE) .lock .cluster .bench .demo .image .mypy_cache .ruff_cache .pytest_cache

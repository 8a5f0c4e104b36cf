.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
ENV := .venv
BIN := $(ENV)/bin
READY := $(ENV)/.ready
ROOMS := plan/sextant_plan monitoring/sextant_monitoring serving/sextant_serving components/sextant_components \
         pipelines/sextant_pipelines examples/sextant_examples
# What one plan of each image needs; the lock of `dev` holds all of them in one environment.
LOCKS := serve train cluster
export MLFLOW_DISABLE_TELEMETRY := true
export FEAST_USAGE := False

.PHONY: help env demo demo-parcels drift-demo selftest previews serve test test-unit test-end-to-end test-slow test-servers \
        test-browser test-containers test-gpu test-cluster test-cluster-slow bench soak lint format generate lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY) ## Create .venv from the hashed lock (Python 3.11; 6 GB, most of it torch)

$(READY): requirements/bootstrap.txt requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Sextant needs Python 3.11: install it, or run make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "$(PYTHON) is not Python 3.11: run make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/bootstrap.txt requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(READY) ## Digits: run the life cycle, serve the model, ask it (under 3 minutes after env)
	@$(BIN)/python -m sextant_pipelines.demonstrations.demo digits

demo-parcels: $(READY) ## Parcels: pictures and Feast features, answers with printable labels (under 8 minutes)
	@$(BIN)/python -m sextant_pipelines.demonstrations.demo parcels

drift-demo: $(READY) ## The input shifts: alert, retraining, gates, canary, promotion, silence (under 10 minutes)
	@rm -rf .sextant/drift-demo
	@$(BIN)/python -m sextant_pipelines.demonstrations.drift_demo

selftest: $(READY) ## Seed each fault and show the gate or alert that catches it, and when (about 4 minutes)
	@rm -rf .sextant/selftest
	@$(BIN)/python -m sextant_pipelines.demonstrations.selftest

previews: $(READY) ## Draw the boards of docs/images anew, from a server and a Prometheus (installed; about 6 minutes)
	@rm -rf .sextant/boards
	@$(BIN)/python -m sextant_pipelines.demonstrations.board_previews

serve: $(READY) ## Serve the promoted model of .sextant on port 8080
	@$(BIN)/sextant serve

test: test-unit test-end-to-end ## What needs Python alone, but for test-slow (under 10 minutes on two cores)

test-unit: $(READY) ## Unit and behaviour tests
	$(BIN)/python -m pytest -n 2 -m "not end_to_end and not servers and not browser and not cluster and not bench and not gpu and not soak and not slow and not containers"

test-end-to-end: $(READY) ## Whole life cycles of the tiny plan
	$(BIN)/python -m pytest -m end_to_end tests/end_to_end

test-slow: $(READY) ## Tests that take minutes and need Python alone too; make test leaves them out
	$(BIN)/python -m pytest -n 2 -m "slow and not servers and not browser and not cluster"

test-servers: $(READY) ## Tests against real servers on this machine (CONTRIBUTING.md says which)
	$(BIN)/python -m pytest -m servers

test-browser: $(READY) ## Tests that open pages in a real Chromium
	$(BIN)/python -m pytest -m browser

test-containers: $(READY) ## The steps as containers, as Kubeflow Pipelines runs them (root, buildah, runc, a base image)
	$(BIN)/python -m pytest -m containers tests/containers

test-gpu: $(READY) ## Training and engines on the NVIDIA GPU of this machine
	$(BIN)/python -m pytest -m gpu tests/gpu

test-cluster: $(READY) ## Tests against the Kubernetes of KUBECONFIG
	$(BIN)/python -m pytest -m "cluster and not slow"

test-cluster-slow: $(READY) ## A/B and shadow, killed parts of the cluster under a rollout, on the Kubernetes of KUBECONFIG
	$(BIN)/python -m pytest -m "cluster and slow"

bench: $(READY) ## The server beside its peers (two free cores, about 20 minutes)
	$(BIN)/python -m benchmarks.serving

soak: $(READY) ## An hour and a million requests against the server (SEXTANT_SOAK_SECONDS shortens it)
	$(BIN)/python -m pytest -m soak -s tests/serving/test_soak.py

lint: $(READY) ## Style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(ROOMS) tests
	$(BIN)/lint-imports

format: $(READY) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(READY) ## Rewrite what is generated: component YAML, rules, dashboards, manifests, reference pages
	$(BIN)/python -m sextant_pipelines.generate

lock: $(READY) ## Solve the locks again after a change of pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev $(LOCK_FLAGS) -o requirements/dev.txt
	for extra in $(LOCKS); do \
	  $(BIN)/uv pip compile pyproject.toml --extra $$extra -c requirements/dev.txt $(LOCK_FLAGS) -o requirements/$$extra.txt; done
	echo uv | $(BIN)/uv pip compile - $(LOCK_FLAGS) -o requirements/bootstrap.txt
	echo hatchling | $(BIN)/uv pip compile - $(LOCK_FLAGS) -c requirements/dev.txt -o requirements/build.txt

LOCK_FLAGS := --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet \
              --python-version 3.11 --python-platform linux

clean: ## Remove the environment, the demo data and .sextant
	rm -rf $(ENV) .sextant examples/*/data .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

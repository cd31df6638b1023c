# vllm-flows: `make demo` is all a first run needs.
#
# Settings are environment variables, also as `make demo VLLM_PORT=8001`:
#   VLLM_BASE_URL    a vLLM server that runs already; none is installed or started then
#   VLLM_API_KEY     its key
#   VLLM_CONFIG      a file of configs/vllm, as cpu, gpu-demo or llama-3.1-8b
#   VLLM_PORT, PREFECT_PORT, VLLM_FLOWS_HOME

PYTHON ?= python3
BIN := .venv/bin
FLOWS := $(BIN)/vllm-flows

.DEFAULT_GOAL := help
.PHONY: help client-env vllm-env up down status demo check test fix bench chaos clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

client-env: ## install what the flows need, into .venv
	@$(PYTHON) scripts/bootstrap.py client

vllm-env: ## install vLLM for this machine's CPUs or GPUs
	@$(if $(VLLM_BASE_URL),:,$(PYTHON) scripts/bootstrap.py vllm >/dev/null)

up: client-env vllm-env ## start the Prefect server, the vLLM server and a worker
	@$(FLOWS) up

down: client-env ## stop them
	@$(FLOWS) down

status: client-env ## show what runs, where, and where it logs
	@$(FLOWS) status

demo: up ## a complete run with a small model: start everything, label claims, show the report
	@$(FLOWS) demo

check: lint ## linters, types, layers, and the tests that need no server
	$(BIN)/python -m pytest

.PHONY: lint
lint: client-env
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

# The environment and the model are found inside the recipe: they exist only after its prerequisites.
test: lint vllm-live chromium ## everything: the checks, and the tests against a real vLLM server
	VLLM_TEST_PYTHON="$$($(PYTHON) scripts/bootstrap.py where)" VLLM_TEST_MODEL="$$($(FLOWS) model)" \
	    $(BIN)/python -m pytest --live

# The reports are opened in it. Without it, and without the right to install it, those tests are skipped and counted.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    apt-get install --yes --no-install-recommends chromium >/dev/null 2>&1; } || \
	    echo "no chromium: the tests that open reports in a browser are skipped"

# Unlike vllm-env also where VLLM_BASE_URL is set: the tests start servers of their own.
.PHONY: vllm-live
vllm-live: client-env
	@$(PYTHON) scripts/bootstrap.py vllm >/dev/null
	@$(FLOWS) model >/dev/null

fix: client-env ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: client-env ## measure the engine: its own cost, its throughput beside a script by hand, its keys
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.key_probe
	$(BIN)/python -m bench.throughput

.PHONY: bench-throughput bench-lists
bench-throughput: client-env ## measure only the throughput; about five minutes
	$(BIN)/python -m bench.throughput

bench-lists: client-env ## compare list sizes on the vLLM server that runs; about seven minutes
	$(BIN)/python -m bench.lists

# TruthfulQA in ICM's format is not part of the project: name yours as `make bench-icm CLAIMS=path`.
CLAIMS ?= ../shared/data/truthfulqa/train.json
.PHONY: bench-icm bench-icm-live bench-icm-order
bench-icm: client-env ## count what full ICM searches cost a server, for each order of contexts; half an hour
	$(BIN)/python -m bench.icm "$(CLAIMS)" "$$($(FLOWS) model)/tokenizer.json"

bench-icm-live: client-env ## compare orders of contexts on the vLLM server that runs; ten minutes
	$(BIN)/python -m bench.icm_live "$(CLAIMS)"

bench-icm-order: client-env ## tell whether the order of contexts matters to the model that runs; half an hour
	$(BIN)/python -m bench.icm_order "$(CLAIMS)"

.PHONY: bench-ace bench-ace-live bench-ace-playbook
bench-ace: client-env ## count and time what learning by ACE costs, in batches and call by call; seven minutes
	$(BIN)/python -m bench.ace --tokenizer "$$($(FLOWS) model)/tokenizer.json"

bench-ace-live: client-env ## learn from 12 rows on the vLLM server that runs, call by call and in one batch
	$(BIN)/python -m bench.ace --live "$${VLLM_BASE_URL:-http://127.0.0.1:$${VLLM_PORT:-8000}}"

bench-ace-playbook: client-env ## measure a playbook of 2,000 bullets; one minute, needs requirements/embeddings.txt
	$(BIN)/python -m bench.ace_playbook

.PHONY: bench-extraction
bench-extraction: client-env ## ground and merge noisy answers beside langextract; ten minutes
	$(BIN)/python -m bench.extraction

chaos: client-env ## kill the clients of a failing server again and again, and do the accounts
	$(BIN)/python -m bench.chaos

clean: ## stop everything; remove .venv, state and caches, but no stored answers and no vLLM environment
	@test ! -x $(FLOWS) || $(FLOWS) down
	rm -rf .venv .vllm-flows .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The two commands a newcomer needs are `make demo` and `make test`; both set the project up first if need be.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that run tests: one per core, from two to four
TEST_WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -lt 2 ] && n=2; [ $$n -gt 4 ] && n=4; echo $$n)
PYTEST = $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder
# onnxruntime and onnxruntime-gpu install the same module: exactly one is chosen, by whether an NVIDIA driver is there.
EXTRA ?= $(shell if [ -e /proc/driver/nvidia/version ] || nvidia-smi >/dev/null 2>&1; then echo gpu; else echo cpu; fi)
INSTALLED := $(VENV)/.installed-$(EXTRA)
# An environment with this file was made here and may be emptied; any other stays as it is.
OURS := $(VENV)/.made-by-make

export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export ORT_DISABLE_TELEMETRY := 1
export RAY_USAGE_STATS_ENABLED := 0

# Without compiled modules, each of the hundreds of processes of the tests would compile the code again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint stack format clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## Create .venv with the exact versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else "Python 3.11 or later is needed, this is %d.%d; try: make setup PYTHON=python3.11" % v)'
	@if [ -L $(VENV) ]; then \
	  echo "$(VENV) is a link to $$(readlink $(VENV)); make does not rebuild what it points to. Remove the link (rm $(VENV)) and try again."; exit 1; \
	elif [ -e $(VENV) ] && [ -z "$$(ls $(OURS) $(VENV)/.installed-* 2>/dev/null)" ]; then \
	  echo "$(VENV) exists and was not made by make; it is left as it is. Move it away and try again."; exit 1; \
	fi
	@echo "Installing into $(VENV) with the $(EXTRA) extra; this takes a few minutes."
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $(OURS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRA),dev]"
	@touch $@

demo: $(INSTALLED)  ## Run the whole workflow on real example cells and print a summary
	@$(BIN)/python -m sctransformer.pipeline.demo

# tests run in parallel, so each uses one thread
test test-all: export OMP_NUM_THREADS ?= 1

test: $(INSTALLED)  ## Run the fast tests: no server, no cluster; a few minutes
	@$(PYTEST) -m "not slow"
	@echo "The fast tests passed. All tests, with servers, Ray and the whole pipeline: make test-all"

test-all: $(INSTALLED)  ## Run all tests (TEST_WORKERS=8: in eight processes)
	@$(PYTEST)

lint: $(INSTALLED)  ## Check style, types and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

stack: $(INSTALLED)  ## Start MLflow, PostgreSQL, an S3 store and Ray as processes on loopback (ARGS=down stops them)
	@$(BIN)/python -m infra.stack $(or $(ARGS),up)

format: $(INSTALLED)  ## Put the code in the house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:  ## Remove what the pipeline, the tests and the tools wrote (.venv and the registry stay)
	rm -rf outputs annotated data/example data/cells.h5ad data/new_cells.h5ad .dvc/tmp
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

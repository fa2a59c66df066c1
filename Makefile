# Works from a fresh clone with Python 3.11 or newer and make. `make demo` and `make test` need nothing before them.

PYTHON ?= python3
PIP_OPTIONS ?= --disable-pip-version-check --quiet
# Two workers leave a laptop usable; the suite is made for them. Each has one thread of torch: with more they would
# spend their time waiting for one another.
WORKERS ?= 2

# A missing or old interpreter is told before anything is installed.
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "taran_eo needs Python 3.11 or newer: make PYTHON=python3.12")'

BIN := .venv/bin
DEMO := .venv-demo/bin
BENCH := .venv-bench/bin
SOURCES := $(shell find taran_eo models -type f -not -name '*.pyc')

.PHONY: help install demo test slow lint bench clean

help:
	@echo 'make demo     install the base into .venv-demo, make sample scenes, find the ships in them, send them down'
	@echo 'make test     install everything into .venv, run the tests'
	@echo 'make slow     the tests over all inputs of float32, about twenty minutes'
	@echo 'make lint     ruff and mypy'
	@echo 'make bench    measure against peers'
	@echo 'make install  install everything for development into .venv'
	@echo 'make clean    remove environments, caches and the demo'

install: .venv/installed

# torch by itself and first: left to the solver, its dependents replace it by the newest build.
.venv/installed: pyproject.toml constraints.txt $(wildcard taran_eo/c_runtime/*.[ch] taran_eo/c_runtime/*.inc)
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(PIP_OPTIONS) -c constraints.txt torch
	$(BIN)/python -m pip install $(PIP_OPTIONS) -c constraints.txt -e '.[dev]'
	@touch $@

# Not editable: the demo runs what a user of the wheel would run.
.venv-demo/installed: pyproject.toml constraints.txt README.md $(SOURCES)
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv-demo
	$(DEMO)/python -m pip install $(PIP_OPTIONS) -c constraints.txt .
	@touch $@

demo: .venv-demo/installed
	rm -rf demo
	$(DEMO)/taran-eo synth -o demo/scenes --scenes 3 --size 1536x1536 --seed 7
	$(DEMO)/taran-eo run demo/scenes -o demo/out --downlink
	$(DEMO)/taran-eo verify demo/out
	$(DEMO)/taran-eo link demo/out --frame-loss 0.02 --seed 1 -o demo/ground
	$(DEMO)/taran-eo downlink --images demo/out --station svalbard
	@echo
	@echo 'The scenes are in demo/scenes; masks, ships, downlink products and frames are in demo/out, and what the ground'
	@echo 'has of them after a lossy link, with previews, is in demo/ground.'
	@echo 'Next: $(DEMO)/taran-eo run YOUR_IMAGES -o OUT'

# In an environment of its own: qonnx does not run with the onnx that has types of 6 bits.
.venv-qonnx/installed: tests/export/qonnx-requirements.txt
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv-qonnx
	.venv-qonnx/bin/python -m pip install $(PIP_OPTIONS) -r tests/export/qonnx-requirements.txt
	@touch $@

test: install .venv-qonnx/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In an environment of their own: what some peers ask for, the package cannot live with, but they can with more.
.venv-bench/installed: pyproject.toml constraints.txt benchmarks/requirements.txt $(SOURCES)
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv-bench
	$(BENCH)/python -m pip install $(PIP_OPTIONS) -c constraints.txt torch
	$(BENCH)/python -m pip install $(PIP_OPTIONS) torch==$$($(BENCH)/python -c 'import torch; print(torch.__version__)') -r benchmarks/requirements.txt
	$(BENCH)/python -m pip install $(PIP_OPTIONS) -c constraints.txt --upgrade . typing-extensions protobuf
	@touch $@

bench: install .venv-bench/installed
	$(BENCH)/python benchmarks/engines.py
	$(BENCH)/python benchmarks/gate.py
	$(BENCH)/python benchmarks/run.py
	$(BIN)/python benchmarks/plain_c.py
	$(BIN)/python benchmarks/wire.py
	$(BIN)/python benchmarks/transfer.py
	$(BIN)/python benchmarks/downlink.py
	$(BIN)/python benchmarks/fake_quantize.py

clean:
	rm -rf .venv .venv-demo .venv-bench .venv-qonnx demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

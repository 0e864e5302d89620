# Two commands for a newcomer: make demo, make test. Both set up everything themselves and reuse it afterwards.
PYTHON ?= python3
ARCH ?= llama
SEED ?= 0
OUT ?= demo/$(ARCH)-$(SEED)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check setup clean

demo: $(READY)
	$(BIN)/sirl demo --arch $(ARCH) --seed $(SEED) --out $(OUT)

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cov=sirl --cov-fail-under=90 -q

check: $(READY)
	$(BIN)/ruff format --check sirl tests examples
	$(BIN)/ruff check sirl tests examples
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sirl needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo runs

# Two commands do everything on a fresh machine, each with its own set-up in .venv:
#   make demo   train a real simulated task and play the result
#   make test   lint, types, docs, all tests
# PYTHON is any Python of at least 3.11 with the venv module.
PYTHON ?= python3
VENV := .venv
# Test files that run side by side: as many as there are cores.
JOBS ?= auto
BIN := $(VENV)/bin
# setuptools warns about every editable install from a tree with folders at its top.
PIP := PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
INPUTS := pyproject.toml constraints.txt Makefile

.PHONY: demo test lint types docs pytest lerobot bench format clean

demo: $(VENV)/.demo
	$(BIN)/python examples/train_and_play.py
	$(BIN)/python examples/full_stack.py
	$(BIN)/python examples/teleop_replay.py

test: lint types docs pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

docs: $(VENV)/.test
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

# Reordered, files with few tests would come last: the longest ones, with a core idle beside them.
# A bound on time is broken when it is missed three times: other programs can spoil a measurement.
pytest: $(VENV)/.test
ifdef PYTEST_ARGS
	$(BIN)/python -m pytest $(PYTEST_ARGS)
else
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not timing'
	$(BIN)/python -m pytest -m timing --reruns 2
endif

# lerobot's own requirements rule out the torch that the other tests run with.
lerobot: $(VENV)/.lerobot
	$(VENV)/lerobot/bin/python -m pytest tests/policies/lerobot tests/lerobot_datasets $(PYTEST_ARGS)

bench: $(VENV)/.test
	$(BIN)/python tests/benchmarks/run.py

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch goes in first and pinned: a resolver left free takes the newest CUDA build, several GB.
$(VENV)/.base: $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'holdstep needs Python 3.11 or newer: make PYTHON=python3.11 ...'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'This Python has no venv module: apt-get install python3-venv'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip setuptools wheel
	$(PIP) torch
	@touch $@

$(VENV)/.demo: $(VENV)/.base
	@echo 'Installing holdstep with mjlab and rsl_rl into $(VENV) (a few minutes, once) ...'
	$(PIP) --no-build-isolation --editable '.[mjlab,rsl-rl,export,plot,video]'
	@touch $@

$(VENV)/.test: $(VENV)/.base
	@echo 'Installing holdstep with all that its tests need into $(VENV) (a few minutes, once) ...'
	$(PIP) --no-build-isolation --editable '.[mjlab,rsl-rl,export,plot,video,sb3,skrl,torchrl,groot,openpi,teleop,devices,compression,convert,minari,docs,dev]'
	$(BIN)/python tests/compat/install.py $(VENV)/compat
	@touch $@

# lerobot and torchvision are installed without what they require, which would be another torch, for
# CUDA, of several GB. tests/policies/lerobot/conftest.py makes torchvision do with a CPU's.
LEROBOT := tests/policies/lerobot
LEROBOT_PIP := $(VENV)/lerobot/bin/pip install --quiet --disable-pip-version-check \
  --constraint $(LEROBOT)/constraints.txt
$(VENV)/.lerobot: $(VENV)/.base $(LEROBOT)/constraints.txt $(LEROBOT)/requirements.txt
	@echo 'Installing lerobot into $(VENV)/lerobot (a minute, once) ...'
	$(PYTHON) -m venv --clear $(VENV)/lerobot
	$(LEROBOT_PIP) --upgrade pip setuptools wheel
	$(LEROBOT_PIP) torch
	$(LEROBOT_PIP) --no-deps torchvision lerobot
	$(LEROBOT_PIP) --requirement $(LEROBOT)/requirements.txt
	PYTHONWARNINGS=ignore $(LEROBOT_PIP) --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

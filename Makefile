# Two commands do everything: `make repro` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ifeq ($(OS),Windows_NT)
$(error On Windows use WSL, or the commands without make in README.md)
endif
# Any but the built-in /bin/sh makes GNU make 3.81, which macOS has, look commands up on the PATH below.
SHELL := /bin/bash
INSTALLED := $(VENV)/installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
BASE ?= main

.PHONY: repro test exp recipes leaderboard range-test search verify install check reproduced audit review lock clean

repro: $(INSTALLED)
	dvc repro
	@PYTHONPATH=src python -m pneumonia.summary

test: $(INSTALLED)
	python -m pytest

# A recipe as an experiment: make exp RECIPE=singh-augmented SET="-S seed=1". Without RECIPE: which there are.
exp: $(INSTALLED)
	@PYTHONPATH=src python -m pneumonia.recipes $(RECIPE) $(SET)

# Recipes with several seeds, through DVC's queue: make recipes RECIPES="singh-baseline plain" SEEDS="0 1 2".
# SET and JOBS as needed. What is done is skipped; interrupted, the same line goes on.
SEEDS ?= 0 1 2
JOBS ?= 1
recipes: $(INSTALLED)
	@PYTHONPATH=src python -m pneumonia.recipe_queue $(RECIPES) --seeds $(SEEDS) --jobs $(JOBS) $(SET)

# docs/leaderboard.md and its figure from docs/results, to which finished experiments are added first.
leaderboard: $(INSTALLED)
	@PYTHONPATH=src python -m pneumonia.leaderboard

# Suggests a learning rate: make range-test RECIPE=singh-augmented SET="-S batch_size=64", both optional.
range-test: $(INSTALLED)
	@PYTHONPATH=src python -m pneumonia.range_test $(RECIPE) $(SET)

# Tries values from a space, each as an experiment; the same command goes on after an interruption:
# make search SPACE=recipes/search/rate.yaml TRIALS=20 RECIPE=singh-augmented SET="-S seed=1"
TRIALS ?= 20
search: $(INSTALLED)
	@PYTHONPATH=src python -m pneumonia.search $(RECIPE) --space $(SPACE) --trials $(TRIALS) $(SET)

# Whether the checkout is what dvc.lock, the predictions and MLflow say.
verify: $(INSTALLED)
	@PYTHONPATH=src python -m pneumonia.verify

check: $(INSTALLED)
	ruff check .
	ruff format --check .
	mypy

# Compares the metrics in the working tree with those of the commit.
reproduced: $(INSTALLED)
	@PYTHONPATH=src python -m tests.reproduced

# Licences of what is installed, and known vulnerabilities of what is locked, for which it asks pypi.org.
audit: $(INSTALLED)
	@PYTHONPATH=src python -m tests.licences
	@PYTHONPATH=src python -m tests.audit

review: $(INSTALLED)
	@dvc metrics diff --md $(BASE)
	@dvc params diff --md $(BASE)

install: $(INSTALLED)

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "error: Python 3.11 to 3.14 is needed, this is " + sys.version.split()[0] + "; try `make PYTHON=python3.12 $(MAKECMDGOALS)`.")'
	$(PYTHON) -m venv $(VENV)
	python -m pip install --require-hashes -r requirements.lock
	@touch $@

# Writes the lock anew from the two readable files: all packages, all platforms, with hashes.
lock: $(INSTALLED)
	python -m pip install --quiet uv
	uv pip compile requirements-dev.txt --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV)

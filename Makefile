# Everything a newcomer needs: `make audit` and `make test` set themselves up in a virtual environment of their own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= build/audit

.PHONY: audit test lint benchmarks docs clean

# Made again only when what is to be installed has changed, so the second time costs nothing.
$(READY): setup.py pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "constraints.txt needs Python 3.11 or newer; give one with PYTHON=... This is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

audit: $(READY)
	if [ -f '$(OUT)/run.json' ]; then rm -rf '$(OUT)'; fi
	$(BIN)/art-multimodal audit demo:digits --data demo:digits --eps 4/255 --limit 100 --batch-size 100 --out $(OUT)

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmarks: $(READY)
	$(BIN)/python benchmarks/pgd_step.py
	$(BIN)/python benchmarks/audit_demo.py
	$(BIN)/python benchmarks/decoupling.py
	$(BIN)/python benchmarks/decoupling_cost.py
	$(BIN)/python benchmarks/bert_attack_cost.py
	$(BIN)/python benchmarks/text_attacks.py
	$(BIN)/python benchmarks/multimodal_attacks.py
	$(BIN)/python benchmarks/worst_case.py
	$(BIN)/python benchmarks/muroan_training.py
	$(BIN)/python benchmarks/training_step_cost.py
	$(BIN)/python benchmarks/mixed_precision.py

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) build docs/_build docs/generated

# Everything a newcomer needs: `make audit` and `make test` set themselves up in a virtual environment of their own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= build/audit
# Of the tests; each takes about 2 GB of memory, with the process that its copies come from.
WORKERS ?= 2
# Programs that tests start take seconds to compile what they import, wherever the environment forbids to keep it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: audit test quick test-slow slow-tests test-kernels fuzz interop lint benchmarks docs links release-check publish-check pythons clean

# Made again only when what is to be installed has changed, so the second time costs nothing.
$(READY): setup.py pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "constraints.txt needs Python 3.11 or newer; give one with PYTHON=... This is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

audit: $(READY)
	$(BIN)/art-multimodal audit demo:digits --data demo:digits --eps 4/255 --limit 100 --batch-size 100 --group-size 100 --out $(OUT) --overwrite

# A file's tests share what they load, so they stay together. One thread each: more would only wait for each other.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# On each save: style, types, and the parts that stand for themselves; under 90 s once mypy has its cache.
quick: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet -n $(WORKERS) tests/functional tests/modalities tests/ablation \
	    tests/test_layers.py tests/test_shown.py tests/test_borders.py tests/test_release.py

# What takes longer than a test may: notebooks from top to bottom, benchmarks in miniature, slow rows of the matrix.
test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m slow

# Which tests took longer than `make test` waits for: tests/slow.txt, written anew on two quiet cores in 20 minutes.
slow-tests: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow or listed" -p tools.slow_tests

# The suite as other processors would run it, and beside busy processes: some two hours on two cores. RUNS names some.
test-kernels: $(READY)
	$(BIN)/python tests/kernels.py $(RUNS)

# Hostile inputs through the command line; a few of them are among the tests. 20,000 take some 25 minutes of CPU.
fuzz: $(READY)
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m fuzz.driver --count $(or $(COUNT),20000) --workers $(WORKERS)

# ART imports numba, kornia and OpenCV for some attacks without declaring them.
interop: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt numba==0.68.1 kornia==0.9.0 opencv-python-headless==5.0.0.93
	$(BIN)/python -m pytest tests/interop -m 'slow or not slow' --interop-results docs/interoperability.json

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
	$(BIN)/python benchmarks/defences.py
	$(BIN)/python benchmarks/text_repair.py
	$(BIN)/python benchmarks/detection.py
	$(BIN)/python benchmarks/multimodal_attacks.py
	$(BIN)/python benchmarks/worst_text.py
	$(BIN)/python benchmarks/headline.py
	$(BIN)/python benchmarks/worst_case.py
	$(BIN)/python benchmarks/muroan_training.py
	$(BIN)/python benchmarks/training_step_cost.py
	$(BIN)/python benchmarks/demo_views.py
	$(BIN)/python benchmarks/demo_spoken.py
	$(BIN)/python benchmarks/fusion_costs.py
	$(BIN)/python benchmarks/plain_audit.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/thousand_classes.py
	$(BIN)/python benchmarks/prompt_work.py
	$(BIN)/python -m benchmarks.fusions
	$(BIN)/python -m benchmarks.fusions.tables
	$(BIN)/python -m benchmarks.certificates
	$(BIN)/python -m benchmarks.certificates.tables
	$(BIN)/python -m benchmarks.certificates.cost
	$(BIN)/python benchmarks/mixed_precision.py

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# Asks every address outside whether it is there, so it needs a network, and no test does that.
links: $(READY)
	$(BIN)/sphinx-build --keep-going -b linkcheck docs docs/_build/linkcheck

# Build, contents, metadata; wheel and source each in an empty environment: pip check, an audit of a demo without a
# network, and the contributors' walks, whose counts docs/extending.md shows.
release-check: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[release]'
	$(BIN)/python -m tools.release_check

# The same, and whether the metadata state the addresses that a release on an index needs.
publish-check: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[release]'
	$(BIN)/python -m tools.release_check --publish

# Each Python that is stated, and the lowest versions that are allowed: what was tried stands in docs/versions.md.
pythons: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.pythons --lowest

clean:
	rm -rf $(VENV) build docs/_build docs/generated

# A fresh machine needs Python 3.11 or newer and nothing else: each target sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
PROCESSES ?= 2
BIN := $(VENV)/bin
FRAMEWORKS := lightning transformers accelerate
NEEDS_transformers := accelerate  # its Trainer's
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: compare test frameworks fuzz soak faults check bench docs fix clean

compare: $(VENV)/main  ## train one network under each classic schedule, offline
	$(BIN)/gradus compare

test: $(VENV)/dev  ## the tests, in two processes of one thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

frameworks: $(FRAMEWORKS:%=$(VENV)-%/try)  ## Lightning, Transformers and Accelerate as their users write them, each in its own environment

fuzz: $(VENV)/dev  ## 100,000 damaged inputs for each thing that is read; an hour or two
	GRADUS_FUZZ_CASES=100000 $(BIN)/python -m pytest tests/test_fuzz.py tests/test_scheduler_states.py

soak: $(VENV)/dev  ## 24 comparisons in a row, hundreds of thousands of updates, and nothing left behind
	GRADUS_SOAK_COMPARISONS=24 GRADUS_SOAK_UPDATES=200000 $(BIN)/python -m pytest tests/test_soak.py

check: $(VENV)/dev  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/dev  ## what lint and format can put right themselves
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev  ## the speed of schedules, drop-ins, optimizers, checkpoints, data sets and the gallery, as ratios
	$(BIN)/python benchmarks/schedules.py
	$(BIN)/python benchmarks/drop_ins.py
	$(BIN)/python benchmarks/optimizers.py
	$(BIN)/python benchmarks/sparse.py
	$(BIN)/python benchmarks/lbfgs.py
	$(BIN)/python benchmarks/checkpoint.py
	$(BIN)/python benchmarks/dataset.py
	$(BIN)/python benchmarks/gallery.py

faults: $(VENV)/dev  ## kill and stop trainings hundreds of times, on hostile machines too, and compare what comes of them
	GRADUS_KILLS=200 $(BIN)/python -m pytest tests/test_faults.py tests/test_hostile_machines.py tests/test_store_damage.py

docs: $(VENV)/docs  ## the manual, into site/
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(FRAMEWORKS:%=$(VENV)-%) site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# torch comes first and pinned: without the pin pip may take a build of several gigabytes.
$(VENV)/torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	touch $@

$(VENV)/main: $(VENV)/torch pyproject.toml
	$(INSTALL) --editable .
	touch $@

$(VENV)/dev: $(VENV)/torch pyproject.toml
	$(INSTALL) --editable '.[dev]'
	touch $@ $(VENV)/main

# Each framework has an environment of its own, with the newest release that the constraints name.
.PRECIOUS: $(VENV)-%/ready
$(VENV)-%/try: $(VENV)-%/ready
	$(VENV)-$*/bin/python -m pytest tests/frameworks/test_$*.py

$(VENV)-%/ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . pytest hypothesis $* $(NEEDS_$*)
	touch $@

$(VENV)/docs: $(VENV)/torch pyproject.toml
	$(INSTALL) --editable '.[docs]'
	touch $@

# Everything a developer or a newcomer needs; on a machine with Python (>= 3.11), pip and make it needs nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO = demo

.PHONY: help demo test lint unit minimums bench luts docs clean-cache clean

help:
	@echo "make demo         set up and simulate the shipped sample"
	@echo "make test         set up, then lint, types and all tests"
	@echo "make lint         ruff, codespell, mypy"
	@echo "make minimums     the sample with the lowest allowed versions gives the same digest"
	@echo "make bench        speed and memory, side by side with pyhepmc"
	@echo "make luts         rebuild the tables that ship (luts/)"
	@echo "make docs         redraw the pictures and outputs in README.md"
	@echo "make clean-cache  forget compiled kernels and tables"

$(BIN)/fastsim: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: $(BIN)/fastsim
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]' -e tests/plugin_example
	@touch $@

demo: $(BIN)/fastsim
	@mkdir -p $(DEMO)
	$(BIN)/fastsim run tests/data/pp_ttbar_40.hepmc.zst --card cards/alice3.toml --out $(DEMO)/ttbar.root --overwrite

test: lint unit

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell fastsim tests docs benchmarks detectors cards *.md pyproject.toml
	$(BIN)/mypy

unit: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile tests/unit/kernels tests/unit/test_rng.py tests/unit/test_truth.py tests/unit/tracking tests/unit/objects tests/unit/devices tests/unit/luts \
	  tests/unit/io/test_decimal.py tests/unit/io/test_hepmc_text.py tests/unit/generate/test_gun.py
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -k records tests/unit/io/test_nano.py

# The lowest versions that pyproject.toml allows, in an environment of their own.
minimums:
	$(PYTHON) -m venv $(VENV)-minimums
	$(PYTHON) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
	  | sed 's/>=/==/' > $(VENV)-minimums/requirements.txt
	$(VENV)-minimums/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r $(VENV)-minimums/requirements.txt
	$(VENV)-minimums/bin/python -m pip install --quiet --disable-pip-version-check --no-deps .
	@mkdir -p $(DEMO)
	$(VENV)-minimums/bin/fastsim run tests/data/pp_ttbar_40.hepmc.zst --out $(DEMO)/minimums.root --overwrite --quiet
	$(BIN)/fastsim run tests/data/pp_ttbar_40.hepmc.zst --out $(DEMO)/newest.root --overwrite --quiet
	test "$$($(BIN)/fastsim inspect --digest $(DEMO)/minimums.root)" = "$$($(BIN)/fastsim inspect --digest $(DEMO)/newest.root)"

bench: $(VENV)/.test
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/batch.py

luts: $(BIN)/fastsim
	rm -f luts/*.lut
	$(BIN)/fastsim lut build alice3_v2 --out luts

docs: $(VENV)/.test
	$(BIN)/python docs/make.py

clean-cache:
	rm -rf .cache .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	-$(BIN)/python -c "from fastsim.resources import cache_dir; import shutil; shutil.rmtree(cache_dir(), ignore_errors=True)"

clean: clean-cache
	rm -rf $(VENV) $(VENV)-minimums $(DEMO) dist build

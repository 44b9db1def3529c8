# Two commands set up a fresh machine: `make quickstart` and `make test`. Both build .venv with the machine's python3.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DRAWN := data/drawn
DRAW := $(BIN)/python -m rgbir_jax.commands.draw --images 4 --size 128 64 --seed 0
# People of the quickstarts in other trees, and flags of their trainings. The tests make both smaller.
PEOPLE := --train 96 --test 32
TRAIN_FLAGS :=
# What the tests need.
EXTRAS := data,report,search,browse,export,test
COMMA := ,
# Half the size and width: at full size a step takes half a minute on two CPU cores.
STEP_FLAGS := --size 128 64 --width-divisor 2
ROWS := simple_dis simple_dis_cross random_triplet hard_triplet

.PHONY: help quickstart quickstart-comparators quickstart-table6 quickstart-method2 quickstart-regdb quickstart-llcm quickstart-folders
.PHONY: drawn drawn_market judge showcase browse test test-slow test-lowest test-newest test-onnx chaos soak benchmarks docs notebook lint clean

help:
	@echo "make quickstart          draw a dataset, train on it, score it, write runs/quickstart/report.html"
	@echo "make quickstart-comparators  all systems with the same budget of images, two seeds each, as a table; 35 minutes"
	@echo "make quickstart-table6   M_bdtr, its baseline and the rows of Table 6 on the drawn dataset, as a table"
	@echo "make quickstart-method2  train on drawn people by day, then Method1 and Method2, as a table"
	@echo "make quickstart-regdb    draw a RegDB, train and score two of its folds, and print their mean in a table"
	@echo "make quickstart-llcm     draw an LLCM, train on it and score it, as a table"
	@echo "make quickstart-folders  draw people in folders such as your own, check them, train on them and score them"
	@echo "make showcase            the same system on more people and for longer, which draws them well"
	@echo "make judge               the recogniser that says whom the images of the showcase show"
	@echo "make browse              a page in the browser: the model that comes along, on drawn people whom it never saw"
	@echo "make test                style, types and tests"
	@echo "make test-slow           the tests that take minutes, PyTorch comparisons among them"
	@echo "make test-onnx           exported ONNX files in ONNX Runtime, in an environment of its own, .venv-onnx"
	@echo "make chaos               kill, damage and starve trainings, and compare their ends; about 10 minutes"
	@echo "make soak                5,000 iterations in one process: memory, files and threads do not grow"
	@echo "make test-lowest         tests with the lowest versions of the dependencies, in build/; test-newest: the newest"
	@echo "make benchmarks          what benchmarks/README.md lists, into runs/benchmarks; hours, on a quiet machine"
	@echo "make docs                the site, build/docs/index.html; dead links are errors"
	@echo "make notebook            run docs/quickstart.ipynb and keep what it shows"
	@echo "make clean               remove the environment, the drawn data and the quickstarts' runs"

# An environment is complete if its stamp exists; a changed pyproject.toml rebuilds it.
$(VENV)/run.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[data,report]'
	touch $@

$(VENV)/browse.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[data,report,browse]'
	touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	touch $@

$(VENV)/parity.stamp: $(VENV)/test.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS),parity]'
	touch $@

$(VENV)/docs.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[data,report,search,docs]'
	touch $@

drawn: $(VENV)/run.stamp
	$(DRAW) --out $(DRAWN) --train 320 --val 32 --test 48

drawn_market: $(VENV)/run.stamp
	$(DRAW) --out data/drawn_market --layout market1501 --train 96 --test 16

# Other people than the quickstart's and the showcase's: it has to tell apart people whom it has never seen.
judge: $(VENV)/run.stamp
	$(BIN)/python -m rgbir_jax.commands.draw --seed 1 --size 128 64 --images 4 --out data/drawn_judge \
	  --train 1000 --val 0 --test 8
	$(BIN)/python train.py --config quickstart/judge --workdir runs/judge

quickstart: drawn
	$(BIN)/python train.py --config quickstart --workdir runs/quickstart
	$(BIN)/python eval.py --workdir runs/quickstart --disentanglement
	@echo "The report is runs/quickstart/report.html"

# An hour and a half on one core; the same command resumes it.
showcase: judge
	$(BIN)/python -m rgbir_jax.commands.draw --seed 7 --size 128 64 --images 4 --out data/showcase \
	  --train 1000 --val 32 --test 48
	$(BIN)/python train.py --config quickstart/showcase --workdir runs/showcase
	$(BIN)/python eval.py --workdir runs/showcase --disentanglement --judge runs/judge --swap_images 96

# Two seeds at a time, each on half of the cores.
quickstart-comparators: drawn
	$(BIN)/python -m benchmarks.rows comparators --seeds 2 --jobs 2

# The rows share one M_bdtr; each trains its own classifier on the embeddings, from the same seed, in seconds.
quickstart-table6: drawn
	for preset in bdtr baseline; do \
	  $(BIN)/python train.py --config quickstart/two_stream:$$preset --workdir runs/table6/$$preset && \
	  $(BIN)/python eval.py --workdir runs/table6/$$preset || exit 1; \
	done
	for row in $(ROWS); do \
	  $(BIN)/python train.py --config quickstart/embedding:$$row --workdir runs/table6/$$row \
	    --config.two_stream.from_run runs/table6/bdtr && \
	  $(BIN)/python eval.py --workdir runs/table6/$$row || exit 1; \
	done
	$(BIN)/python eval.py --table 6 --runs runs/table6

# Method1's E_a starts from the teacher, Method2's networks from the Market run; both are taught by Method1's teacher.
quickstart-method2: drawn drawn_market
	$(BIN)/python train.py --config quickstart/market --workdir runs/quickstart_market
	$(BIN)/python train.py --config quickstart/methods:method1 --workdir runs/methods/method1
	$(BIN)/python train.py --config quickstart/methods:method2 --workdir runs/methods/method2 \
	  --config.teacher.from_run runs/methods/method1
	for run in method1 method2; do $(BIN)/python eval.py --workdir runs/methods/$$run || exit 1; done
	$(BIN)/python eval.py --table 7 --runs runs/methods
	$(BIN)/python eval.py --table 8 --runs runs/methods

quickstart-regdb: $(VENV)/run.stamp
	$(DRAW) --out data/drawn_regdb --layout regdb $(PEOPLE)
	for fold in 1 2; do \
	  $(BIN)/python train.py --config quickstart/regdb --workdir runs/quickstart_regdb/$$fold --config.fold $$fold \
	    $(TRAIN_FLAGS) && \
	  $(BIN)/python eval.py --workdir runs/quickstart_regdb/$$fold || exit 1; \
	done
	$(BIN)/python eval.py --table regdb --runs runs/quickstart_regdb

quickstart-llcm: $(VENV)/run.stamp
	$(DRAW) --out data/drawn_llcm --layout llcm $(PEOPLE)
	$(BIN)/python train.py --config quickstart/llcm --workdir runs/quickstart_llcm/teacher $(TRAIN_FLAGS)
	$(BIN)/python eval.py --workdir runs/quickstart_llcm/teacher
	$(BIN)/python eval.py --table llcm --runs runs/quickstart_llcm

quickstart-folders: $(VENV)/run.stamp
	$(DRAW) --out data/drawn_folders --layout folders --val 16 $(PEOPLE)
	$(BIN)/python -m rgbir_jax.commands.check data/drawn_folders
	$(BIN)/python train.py --config quickstart/own_folders --workdir runs/quickstart_folders $(TRAIN_FLAGS)
	$(BIN)/python eval.py --workdir runs/quickstart_folders

browse: $(VENV)/browse.stamp
	$(DRAW) --out data/drawn_browse --train 8 --val 2 --test 24
	$(BIN)/python -m rgbir_jax.commands.browse drawn --gallery data/drawn_browse --open

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

# PyTorch's optimisers import Triton, which crashes in a process that has imported TensorFlow.
test-slow: $(VENV)/parity.stamp
	$(BIN)/python -m pytest -n 2 -m slow --ignore tests/parity
	$(BIN)/python -m pytest -n 2 -m slow tests/parity

# jax2onnx takes Orbax back to an older version.
$(VENV)-onnx/test.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)-onnx
	$(VENV)-onnx/bin/pip install --quiet --disable-pip-version-check --editable '.[onnx,test]'
	touch $@

test-onnx: $(VENV)-onnx/test.stamp
	$(VENV)-onnx/bin/python -m pytest tests/inference/test_onnx_file.py

# From scratch: an environment in build/ with the versions that pyproject.toml allows, which uv finds.
SPHINX_FLAGS := --fail-on-warning --keep-going --quiet
RESOLUTION_lowest := lowest-direct
RESOLUTION_newest := highest
VERSIONS_TESTS := tests/losses tests/models tests/datasets tests/data tests/evaluation tests/inference tests/training \
  tests/visualize tests/commands tests/search tests/browse tests/test_run.py tests/test_own_images.py \
  tests/test_trained.py tests/end_to_end/test_recipe.py
test-lowest test-newest: test-%:
	rm -rf build/$*
	$(PYTHON) -m venv build/$*
	$(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet --disable-pip-version-check uv
	build/uv/bin/uv pip compile --quiet --python build/$*/bin/python --resolution $(RESOLUTION_$*) \
	  $(addprefix --extra ,$(subst $(COMMA), ,$(EXTRAS)) docs) --no-emit-index-url --output-file build/$*/versions.txt pyproject.toml
	build/uv/bin/uv pip install --quiet --python build/$*/bin/python --requirements build/$*/versions.txt
	build/uv/bin/uv pip install --quiet --python build/$*/bin/python --no-deps --editable .
	build/$*/bin/python -m pytest -n 2 -m "not slow" $(VERSIONS_TESTS)
	build/$*/bin/sphinx-build $(SPHINX_FLAGS) docs build/$*/docs

docs: $(VENV)/docs.stamp
	$(BIN)/sphinx-build $(SPHINX_FLAGS) docs build/docs
	@echo "The site is build/docs/index.html"

notebook: $(VENV)/test.stamp
	$(BIN)/python -m tests.docs.notebook

# docs/reliability.md has their tables.
chaos: $(VENV)/test.stamp
	$(BIN)/python -m tests.reliability.chaos --json runs/chaos.json

soak: $(VENV)/test.stamp
	$(BIN)/python -m tests.reliability.soak --json runs/soak.json

benchmarks: $(VENV)/parity.stamp drawn
	mkdir -p runs/benchmarks
	$(BIN)/python -m benchmarks.arithmetic --preset paper --json runs/benchmarks/arithmetic.json
	$(BIN)/python -m benchmarks.compilation --json runs/benchmarks/compilation.json
	$(BIN)/python -m benchmarks.training_step $(STEP_FLAGS) --json runs/benchmarks/step.json
	$(BIN)/python -m benchmarks.features $(STEP_FLAGS) --json runs/benchmarks/features.json
	$(BIN)/python -m benchmarks.input --data_dir $(DRAWN) --json runs/benchmarks/input.json
	$(BIN)/python -m benchmarks.input --images 45000,450000 --height 64 --batches 1000 --rounds 3 --json runs/benchmarks/input_large.json
	$(BIN)/python -m benchmarks.scoring --json runs/benchmarks/scoring.json
	$(BIN)/python -m benchmarks.activation_maps --json runs/benchmarks/activation_maps.json
	$(BIN)/python -m benchmarks.pairs --json runs/benchmarks/pairs.json
	$(BIN)/python -m benchmarks.quantization drawn --data_dir $(DRAWN) --json runs/benchmarks/quantization.json
	$(BIN)/python -m benchmarks.search --json runs/benchmarks/search.json
	$(BIN)/python -m benchmarks.start_up --json runs/benchmarks/start_up.json
	$(BIN)/python -m benchmarks.growth --out runs/benchmarks

clean:
	rm -rf build $(VENV) $(VENV)-onnx $(DRAWN)* data/showcase* runs/quickstart runs/judge runs/showcase runs/quickstart_market \
	  runs/rows runs/table6 runs/methods runs/quickstart_regdb runs/quickstart_llcm runs/quickstart_folders

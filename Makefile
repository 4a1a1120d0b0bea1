# What people and CI type. Needs make and any Python of PYTHONS with its venv module; all else goes into .venv.
# Stamps under .venv remember what is installed, so a command that has nothing to do starts at once.

PYTHONS = python3.13 python3.12 python3.11 python3.14 python3 python
VENV    = .venv
PB      = services/inferencehub/pb/.generated
NATIVE  = services/inferencehub/gateway/json_codec/libnumbers.so
IMAGES  = gateway inference
TEST_IMAGES = valkey prometheus
CLUSTER = hub
CHECKED = $(wildcard services tests bench conformance proto k8s-tests scan dashboards)

export PYTHONPATH = services
# Bytecode is kept, also where the environment says otherwise, and out of the source tree: a tier starts twice as fast.
export PYTHONDONTWRITEBYTECODE =
export PYTHONPYCACHEPREFIX = $(CURDIR)/$(VENV)/pycache
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# onnxruntime reports its use to its maker unless told otherwise before it is imported.
export ORT_DISABLE_TELEMETRY = 1

SAY     = @printf '==> %s\n'
INSTALL = $(VENV)/bin/python -m pip install --no-compile --require-hashes -r
LOCK    = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
          --no-header --no-emit-index-url --no-emit-find-links
TIERS   = pyproject.toml $(IMAGES:%=--extra %)
EXTRAS  = sklearn lightgbm xgboost s3
# Extras that are too large for .venv: `make test-heavy` has them in an environment of its own.
HEAVY   = tensorflow torch
WITHIN  = --constraint requirements/dev.txt -o

.PHONY: help install run test lint types untimed unit test-long fuzz conformance test-tools test-heavy test-lowest test-images bench \
        bench-quick bench-guard dashboards images k8s-test-images kind-load deploy port-forward cert-manager k8s-test k8s-test-all hpa-demo scan \
        sbom lock clean
.DELETE_ON_ERROR:

help: ## list the commands
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

run: $(VENV)/run.stamp $(PB) $(NATIVE) ## both tiers on this machine; Ctrl-C ends them (PODS=3, PYTHON=... picks the Python)
	@HUB_SAMPLES=$${HUB_SAMPLES-models} HUB_JOBS=$${HUB_JOBS-sqlite:build/jobs.db} exec $(VENV)/bin/python -m inferencehub

install: $(VENV)/dev.stamp $(VENV)/command.stamp $(PB) $(NATIVE) ## .venv with all that development needs

test: lint types unit ## ruff, mypy and the tests

lint: $(VENV)/dev.stamp
	$(SAY) 'ruff'
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --check --quiet .

types: install
	$(SAY) 'mypy --strict'
	@$(VENV)/bin/mypy $(CHECKED)

# Tests wait more than they compute, so there are more workers than cores; the tests of a file share one worker.
SIDE_BY_SIDE = -n 5 --dist loadfile

# PYTEST_ARGS may choose tests of which none, or all, are about timing: pytest's exit code 5.
untimed: install
	$(SAY) 'pytest'
	@$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS) || [ $$? = 5 ]

unit: untimed
	$(SAY) 'pytest, timing'
	@$(VENV)/bin/python -m pytest -m 'timing and not long and not tools and not images' $(PYTEST_ARGS) || [ $$? = 5 ]

test-long: install ## what takes long: crashes under load, memory after thousands of calls, readers that stop, 5 minutes
	$(SAY) 'pytest, long'
	@$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) -m 'long and not timing and not tools' $(PYTEST_ARGS) || [ $$? = 5 ]
	$(SAY) 'pytest, long, timing'
	@$(VENV)/bin/python -m pytest -m 'long and timing' $(PYTEST_ARGS) || [ $$? = 5 ]

fuzz: install ## 20,000 changed requests to each service and kind of route, and 8,000 tensors there and back, 15 minutes
	$(SAY) 'pytest, fuzz'
	@LONG_RUNS=1 $(VENV)/bin/python -m pytest -s tests/fuzz tests/gateway/test_round_trips.py $(PYTEST_ARGS)

test-tools: install ## ask real servers and programs: Helm, Prometheus, Triton, a browser, curl, Go; a missing one is a failure
	$(SAY) 'pytest, tools'
	@$(VENV)/bin/python -m pytest -m tools $(PYTEST_ARGS)

# An environment of its own, .venv-heavy, so that the one of development stays without these 8 GB.
test-heavy: ## tests of models of TensorFlow and PyTorch, 5 minutes; installs both once, 8 GB
	@$(MAKE) --no-print-directory VENV=.venv-heavy install .venv-heavy/heavy.stamp
	$(SAY) 'pytest, heavy'
	@.venv-heavy/bin/python -m pytest -m heavy $(or $(PYTEST_ARGS),tests/inference tests/cli/new)

test-lowest: ## tests of core, gateway and inference with the lowest versions that pyproject.toml allows
	@$(MAKE) --no-print-directory VENV=.venv-lowest PYTHON=$(or $(PYTHON),python3.11) install .venv-lowest/lowest.stamp
	$(SAY) 'pytest, lowest versions'
	@.venv-lowest/bin/python -m pytest $(SIDE_BY_SIDE) $(or $(PYTEST_ARGS),tests/core tests/gateway tests/inference)

test-images: install ## ask both images on a container engine; after `make images`
	$(SAY) 'pytest, images'
	@$(VENV)/bin/python -m pytest -m images tests/images $(PYTEST_ARGS)

bench: install ## ours and all the others, 25 minutes; needs h2load (BENCH_ARGS=...)
	@$(VENV)/bin/python -m bench $(BENCH_ARGS)

bench-quick: install ## ours, a bare uvicorn and FastAPI, 3 minutes
	@$(VENV)/bin/python -m bench --quick $(BENCH_ARGS)

bench-guard: install ## fail where a request has become dearer than bench/guard/recorded.json says
	@$(VENV)/bin/python -m bench.guard

conformance: install ## ask both tiers with the clients of others, beside Triton where TRITON_SERVER starts one (SEED=, CLIENTS=)
	@$(VENV)/bin/python -m conformance

dashboards: install ## write the chart's Grafana dashboards from the descriptions in dashboards/
	@$(VENV)/bin/python -m dashboards

images: $(IMAGES:%=image-%) ## both container images, tagged :dev (DOCKER_BUILD_ARGS=...)

image-%:
	$(SAY) 'image inferencehub-$*:dev'
	@docker build $(DOCKER_BUILD_ARGS) -f Dockerfile.$* -t inferencehub-$*:dev .

k8s-test-images: $(TEST_IMAGES:%=k8s-test-image-%) ## a Valkey and a Prometheus for tests on containers and on a cluster, tagged :dev

k8s-test-image-%:
	$(SAY) 'image inferencehub-$*:dev'
	@docker build $(DOCKER_BUILD_ARGS) -t inferencehub-$*:dev k8s-tests/$*

kind-load: ## both images onto the nodes of a kind cluster (CLUSTER=hub), and those of the tests that are there
	$(SAY) 'loading images into $(CLUSTER)'
	@kind load docker-image --name $(CLUSTER) $(IMAGES:%=inferencehub-%:dev) \
	  $(foreach image,$(TEST_IMAGES:%=inferencehub-%:dev),$$(docker images --quiet $(image) | sed s/.*/$(image)/))

deploy: ## the chart as release hub, on the cluster that kubectl points at
	$(SAY) 'helm upgrade --install hub'
	@helm upgrade --install hub charts/inferencehub --values charts/inferencehub/ci/kind-values.yaml --wait --timeout 3m

port-forward: ## the gateway of release hub at localhost:3000
	@kubectl port-forward service/hub-inferencehub-gateway 3000:3000

# What `make k8s-test` runs if it is there. Its schemas come out of the same module, whose hash is in go.sum.
cert-manager: build/cert-manager/controllers ## cert-manager's controllers and CRDs, for `make k8s-test`; needs Go

build/cert-manager/controllers: $(wildcard k8s-tests/cert_manager/*)
	$(SAY) 'building cert-manager (once, 3 minutes)'
	@mkdir -p $(@D)
	@cd $(<D) && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o $(CURDIR)/$@ . && \
	  cp -r --no-preserve=mode "$$(go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)/deploy/crds" $(CURDIR)/$(@D)

k8s-test: install ## the chart on a real cluster; after `make images k8s-test-images kind-load`
	$(SAY) 'pytest, cluster'
	@$(VENV)/bin/python -m pytest -m 'not long' k8s-tests $(PYTEST_ARGS)

k8s-test-all: install ## the same, and the tests that take minutes
	$(SAY) 'pytest, cluster, all'
	@$(VENV)/bin/python -m pytest -m '' k8s-tests $(PYTEST_ARGS)

hpa-demo: $(VENV)/dev.stamp ## watch pods follow demand, and CPU miss it: table and plot; after `make images kind-load`
	$(SAY) 'autoscalers under load'
	@PYTHONPATH=k8s-tests $(VENV)/bin/python -m demo $(HPA_ARGS)

scan: install ## bandit, hadolint, checkov and pip-audit: each finding is fixed or listed in scan/listed.toml (AUDIT=required)
	@$(MAKE) --silent VENV=.venv-scan .venv-scan/scan.stamp
	$(SAY) 'scan'
	@$(VENV)/bin/python -m scan

sbom: install ## what is in each image, with hashes and licences, as CycloneDX in build/sbom
	@$(MAKE) --silent VENV=.venv-sbom .venv-sbom/sbom.stamp
	$(SAY) 'bills of materials'
	@$(VENV)/bin/python -m scan.sbom

lock: $(VENV)/dev.stamp ## pin and hash dependencies in requirements/ (UPGRADE=1 takes newer ones)
	@$(LOCK) $(TIERS) --extra scaler $(EXTRAS:%=--extra %) --group dev $(if $(UPGRADE),--upgrade) -o requirements/dev.txt
	@$(LOCK) $(TIERS) --group proto $(WITHIN) requirements/run.txt
	@$(LOCK) --group proto $(WITHIN) requirements/proto.txt
	@$(LOCK) pyproject.toml --extra gateway --extra scaler $(WITHIN) requirements/gateway.txt
	@$(LOCK) pyproject.toml --extra inference $(WITHIN) requirements/inference.txt
	@$(foreach extra,$(EXTRAS) $(HEAVY),$(LOCK) pyproject.toml --extra inference --extra $(extra) $(WITHIN) requirements/extras/$(extra).txt &&) true
	@$(LOCK) pyproject.toml $(HEAVY:%=--extra %) --group heavy $(WITHIN) requirements/heavy.txt
	@$(LOCK) $(TIERS) --extra scaler $(EXTRAS:%=--extra %) --resolution lowest-direct -o requirements/lowest.txt
	@$(LOCK) --group scan $(if $(UPGRADE),--upgrade) -o requirements/scan.txt
	@$(LOCK) --group sbom $(if $(UPGRADE),--upgrade) -o requirements/sbom.txt

clean: ## remove .venv, generated code and caches
	@rm -rf $(VENV) .venv-* $(NATIVE) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find services/inferencehub/pb -mindepth 1 ! -name __init__.py -delete
	@find $(CHECKED) models -name __pycache__ -prune -exec rm -rf {} +

# A name on PATH may be a shim without that Python behind it, so each candidate is asked.
$(VENV)/bin/python:
	@for python in $(or $(PYTHON),$(PYTHONS)); do \
	  "$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null || continue; \
	  printf '==> %s with %s\n' '$(VENV)' "$$("$$python" --version)"; \
	  exec "$$python" -m venv --clear $(VENV); \
	done; \
	echo 'No Python 3.11, 3.12, 3.13 or 3.14 with venv found; name one with make PYTHON=...' >&2; exit 1

$(VENV)/run.stamp: requirements/run.txt | $(VENV)/bin/python
	$(SAY) 'installing what both tiers run on (once)'
	@$(INSTALL) $<
	@touch $@

# The development lock holds every line of the run lock.
$(VENV)/dev.stamp: requirements/dev.txt | $(VENV)/bin/python
	$(SAY) 'installing what development needs (once)'
	@$(INSTALL) $<
	@touch $@ $(VENV)/run.stamp

# Each in an environment of its own, .venv-scan and .venv-sbom.
$(VENV)/scan.stamp $(VENV)/sbom.stamp: $(VENV)/%.stamp: requirements/%.txt | $(VENV)/bin/python
	$(SAY) 'installing what make $* needs (once)'
	@$(INSTALL) $<
	@touch $@

# Over the development lock, whose own direct dependencies stay as they are.
$(VENV)/lowest.stamp: requirements/lowest.txt $(VENV)/dev.stamp
	$(SAY) 'installing the lowest versions that pyproject.toml allows'
	@$(INSTALL) $<
	@touch $@

# Over the development lock, whose versions it keeps.
$(VENV)/heavy.stamp: requirements/heavy.txt $(VENV)/dev.stamp
	$(SAY) 'installing $(HEAVY) (once)'
	@$(INSTALL) $<
	@touch $@

# The command `inferencehub`, run from this tree's code.
$(VENV)/command.stamp: pyproject.toml $(VENV)/dev.stamp
	$(SAY) 'installing the command $(VENV)/bin/inferencehub'
	@$(VENV)/bin/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(PB): $(wildcard proto/*.proto) proto/generate.py $(VENV)/run.stamp
	$(SAY) 'generating $(@D) from proto/'
	@$(VENV)/bin/python proto/generate.py
	@touch $@

# Optional: without a compiler large tensors in JSON take longer, and nothing else changes.
$(NATIVE): services/inferencehub/gateway/json_codec/native_numbers.c
	$(SAY) 'compiling what reads large JSON'
	@$(CC) -O2 -shared -fPIC -o $@ $< -lm || { rm -f $@; printf '==> %s\n' 'not compiled: large tensors in JSON take longer'; }

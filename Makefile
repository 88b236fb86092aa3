# Two commands on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
# Processes that tests run in; tests/conftest.py keeps a module in one of them.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
NPM := $(patsubst %,%/node_modules/.package-lock.json,tests/clients tests/browser tests/fronts tests/identity tools/workflows vendor \
	examples/express-backend examples/expo examples/nextjs examples/vercel-ai-sdk examples/vite-react)

.PHONY: install run test setup check lint types clean
.DELETE_ON_ERROR:
# Tests start hundreds of processes; without files of bytecode each would compile the package again, for 1 s of CPU.
unexport PYTHONDONTWRITEBYTECODE

install: $(VENV)/.runtime

run: install
	@exec $(BIN)/fal-proxy demo

test: setup
	$(MAKE) --no-print-directory -j 3 check
	$(BIN)/coverage erase
	$(BIN)/python -m pytest -q -m "not serial" -n $(WORKERS) --dist loadscope --no-loadscope-reorder --cov --cov-report= --cov-fail-under=0 --durations=15
	$(BIN)/python -m pytest -q -m serial --cov --cov-append --cov-report= --cov-fail-under=0 --durations=5
	$(BIN)/coverage report

# All that tests need. Several at once: one waits for the network while another unpacks.
setup:
	$(MAKE) --no-print-directory -j 4 $(VENV)/.dev $(VENV)-docs/.ready $(VENV)-deploy/.ready $(NPM) system-packages

check: lint types site

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/style.py

types: $(VENV)/.dev
	$(BIN)/mypy

# Servers that the tests start; installed only where they are missing and apt is there.
.PHONY: system-packages
system-packages:
	@deploy/install-test-servers

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: lock/runtime.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r lock/runtime.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: lock/dev.txt $(VENV)/.runtime
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r lock/dev.txt
	@touch $@

$(NPM): %/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --silent --ignore-scripts --no-audit --no-fund --prefer-offline
	@touch $@

# Third-party files of the playground, built again; a test compares the bytes.
.PHONY: playground-client
playground-client: vendor/node_modules/.package-lock.json
	node vendor/build.mjs proxy/playground/vendor

# The lock files carry hashes and no addresses.
.PHONY: lock
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras \
		--extra sandbox --group build pyproject.toml -o lock/runtime.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras \
		--extra sandbox --extra otel --group build --group dev pyproject.toml -o lock/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras \
		--extra expressions pyproject.toml -o lock/production.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras \
		--extra expressions --extra otel pyproject.toml -o lock/tracing.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras \
		--group build -o lock/build.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras \
		bench/requirements.in -o bench/requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras \
		--group docs -o lock/docs.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras \
		--group deploy -o lock/deploy.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras \
		--group fuzz -o lock/fuzz.txt
	$(BIN)/python tools/licences.py

.PHONY: site
site: $(VENV)-docs/.ready
	$(VENV)-docs/bin/zensical build --clean --strict
	@rm -f build/site/generate.py

# .runtime replaces the pip of $(VENV), which these two run: one after the other.
$(VENV)-docs/.ready: lock/docs.txt | $(VENV)/.runtime
	$(PYTHON) -m venv --without-pip $(VENV)-docs
	$(BIN)/pip --python $(VENV)-docs install --quiet --no-compile --disable-pip-version-check --require-hashes -r lock/docs.txt
	@touch $@

$(VENV)-deploy/.ready: lock/deploy.txt | $(VENV)/.runtime
	$(PYTHON) -m venv --without-pip $(VENV)-deploy
	$(BIN)/pip --python $(VENV)-deploy install --quiet --no-compile --disable-pip-version-check --require-hashes -r lock/deploy.txt
	@touch $@

# Wheel, sdist and the bill of materials of what a plain installation with expressions has.
.PHONY: dist
dist: $(VENV)/.runtime $(VENV)-deploy/.ready
	rm -rf dist
	$(BIN)/hatchling build -d dist
	$(BIN)/python tools/bill_of_materials.py

.PHONY: docs
docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

# Fuzz targets by coverage: `make fuzz SECONDS_EACH=60 TARGETS="operations session_tokens"`; the corpus is in .fuzz/.
SECONDS_EACH ?= 300
TARGETS ?=
.PHONY: fuzz
fuzz: $(VENV)/.dev lock/fuzz.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r lock/fuzz.txt
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS_EACH) $(TARGETS)

.PHONY: bench bench-check bench-keep
bench: $(VENV)/.dev
	$(BIN)/python -m bench run
bench-check: $(VENV)/.dev
	$(BIN)/python -m bench check
bench-keep: $(VENV)/.dev
	$(BIN)/python -m bench keep

clean:
	rm -rf .fuzz $(VENV) $(VENV)-docs $(VENV)-deploy build bench/.venv bench/.last-release bench/contenders/node_modules artifacts examples/*/dist examples/*/.next $(dir $(NPM)) .coverage* .cache .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

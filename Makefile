# Two commands do everything: `make bench` and `make test`. Nothing is installed outside .venv.
# Paths may hold spaces: recipes only name files relative to this folder.
PYTHON ?= python3
QUICK ?=
ARGS ?=
TORCH ?= auto

BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: bench bench-client bench-telemetry bench-gate test lint clean

bench: $(INSTALLED)
	$(BIN)/python -m pytest benchmarks --stack=all --benchmark-autosave --benchmark-quiet $(if $(QUICK),--serve-quick) $(ARGS)

# Our sender beside wrk, k6, Locust, aiohttp and httpx, over gRPC beside perf_analyzer: docs/client.md.
bench-client: $(INSTALLED)
	$(BIN)/python -m benchmarks.client $(ARGS)

# What reading the machine beside a load costs: docs/telemetry.md.
bench-telemetry: $(INSTALLED)
	$(BIN)/python -m benchmarks.telemetry $(ARGS)

# Does the regression gate cry wolf, and does it see what is slower? On real servers, 40 minutes: docs/gate-proof.md.
bench-gate: $(INSTALLED)
	$(BIN)/python -m benchmarks.gate $(ARGS)

# In three groups: what only computes on all cores, what waits for servers by two, what is timed one by one.
test: $(INSTALLED)
	$(BIN)/python -m tests $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/*.Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows docs/examples/ci/github-*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci docs/examples/ci/gitlab-ci.yml

# Installed again when what is to be installed has changed.
$(INSTALLED): pyproject.toml constraints.txt install.sh
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh install.sh .venv
	touch $(INSTALLED)

clean:
	rm -rf .venv .servebench-cache .benchmarks

# Two commands do everything: `make bench` and `make test`. Nothing is installed outside .venv.
# Paths may hold spaces: recipes only name files relative to this folder.
PYTHON ?= python3
QUICK ?=
ARGS ?=
TORCH ?= auto

BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: bench bench-client bench-telemetry bench-gate gpu-proof results test lint docs pictures clean

# The report's path is said last, of a red run too; one of an earlier run is not taken for it.
REPORT := .servebench/report
bench: $(INSTALLED)
	@rm -f $(REPORT)/report.html
	$(BIN)/python -m pytest benchmarks --stack=all --benchmark-autosave --benchmark-quiet --serve-report=$(REPORT) \
	  $(if $(QUICK),--serve-quick) $(ARGS); status=$$?; \
	  if test -e $(REPORT)/report.html; then echo "report: $(REPORT)/report.html"; fi; exit $$status

# Our sender beside wrk, k6, Locust, aiohttp and httpx, over gRPC beside perf_analyzer: docs/client.md.
bench-client: $(INSTALLED)
	$(BIN)/python -m benchmarks.client $(ARGS)

# What reading the machine beside a load costs: docs/telemetry.md.
bench-telemetry: $(INSTALLED)
	$(BIN)/python -m benchmarks.telemetry $(ARGS)

# Does the regression gate cry wolf, and does it see what is slower? On real servers, 85 minutes: docs/gate-proof.md.
bench-gate: $(INSTALLED)
	$(BIN)/python -m benchmarks.gate $(ARGS)

# On a machine with a GPU, 90 minutes at most: doctor, suite, parity, one report in results/. docs/gpu.md
gpu-proof: $(INSTALLED)
	$(BIN)/python -m benchmarks.gpu $(if $(NAME),--name "$(NAME)") $(if $(QUICK),--quick) $(ARGS)

# A run of this machine to keep: make results NAME=two-cores. results/README.md
results: $(INSTALLED)
	@test -n "$(NAME)" || { echo "make results NAME=...: results/ has a folder for each run" >&2; exit 2; }
	@mkdir -p "results/$(NAME)"
	$(BIN)/python -m pytest benchmarks --stack=all --benchmark-quiet --serve-report="results/$(NAME)/report" \
	  --benchmark-json="results/$(NAME)/run.json" $(if $(QUICK),--serve-quick) $(ARGS)

# In groups: what only computes on all cores, what waits for servers by two, what is timed one by one.
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

# The documentation as a site, in site/: open site/index.html. It asks nothing of any other machine.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

# README's pictures of a saved run: make pictures RUN=.benchmarks/.../0001_....json; needs Chromium.
pictures: $(INSTALLED)
	$(BIN)/python docs/pictures/capture.py "$(RUN)" test_latency > .servebench-terminal.svg
	mv .servebench-terminal.svg docs/pictures/terminal.svg
	$(BIN)/servebench report "$(RUN)" --output .servebench-report
	$(BIN)/python docs/pictures/shot.py .servebench-report/report.html > .servebench-report/report.png
	mv .servebench-report/report.png docs/pictures/report.png

# Installed again when what is to be installed has changed.
$(INSTALLED): pyproject.toml constraints.txt install.sh
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh install.sh .venv
	touch $(INSTALLED)

clean:
	rm -rf .venv .servebench-cache .benchmarks site

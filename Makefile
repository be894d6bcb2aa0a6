# Everything a contributor or a new user types. `make help` lists it.
PYTHON ?= python3
UV_VERSION := 0.13.9
FUZZ_SECONDS ?= 600
TOOLS := .tools/uv
UV := $(TOOLS)/bin/uv
export UV_PYTHON_DOWNLOADS := never
export UV_PYTHON_PREFERENCE := only-system
RUN := $(UV) run --frozen
GSM8K := ../shared/data/gsm8k
ifneq ($(wildcard $(GSM8K)/questions.jsonl),)
export TIEBREAK_GSM8K ?= $(abspath $(GSM8K))
endif

.DEFAULT_GOAL := help
.PHONY: help install run demo test faults fuzz check format docs bench bench-startup bench-providers bench-tls bench-repeat-mix bench-run clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Externally managed Pythons refuse a plain install and some lack ensurepip, so uv goes into the project.
$(UV):
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action ignore --target $(TOOLS) uv==$(UV_VERSION)

install: $(UV) ## the locked environment, in .venv
	@$(UV) sync --quiet --frozen --all-extras --compile-bytecode --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"

run: install ## install, show the demo, keep serving until Ctrl-C
	@$(RUN) tiebreak demo --serve

demo: install ## install, show the demo, leave
	@$(RUN) tiebreak demo

test: install ## unit, contract, journey and quick fault tests
	@$(RUN) pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not faults"

faults: install ## every row of the fault table, at its full figure
	@$(RUN) pytest tests/faults
	@$(RUN) pytest -m faults --ignore=tests/faults

fuzz: install ## vendors' bytes against their readers, guided by coverage, for FUZZ_SECONDS
	@if $(UV) sync --quiet --frozen --all-extras --group fuzz; then \
		$(RUN) --group fuzz python -m tests.fuzz -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048; \
	else echo "SKIPPED: atheris cannot be installed here, nothing was fuzzed"; fi

check: install ## format, lint, types, imports, dependency audit
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) python .ci/audit.py

format: install ## format and fix what can be fixed
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

docs: install ## write docs/reference.md from the program
	$(RUN) python -m tests.docs.reference

bench: bench-startup bench-providers bench-tls bench-repeat-mix bench-run ## every benchmark

bench-providers: install ## our HTTP client against aiohttp, httpx2 and pyreqwest, and what the pipeline adds
	$(RUN) python -m benchmarks.providers
	$(RUN) python -m benchmarks.pipeline

bench-tls: install ## a thousand streams over TLS for a minute, our client and aiohttp, uvloop and asyncio
	$(RUN) python -m benchmarks.tls_streams

bench-repeat-mix: install ## how many calls the pipeline saves on traffic that repeats itself
	$(RUN) python -m benchmarks.repeat_mix

bench-startup: install ## `tiebreak --help` against `python -c pass`
	$(RUN) python -m benchmarks.startup

bench-run: install ## an offline run against the Little's-law rate and against promptfoo
	$(RUN) python -m benchmarks.run_throughput

clean: ## remove what was built here
	rm -rf .tools .venv dist .mypy_cache .ruff_cache .hypothesis

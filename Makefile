# Needs make, Python 3.11 or newer and a package index. Also works with the make 3.81 of macOS.

PYTHON ?= python3
ROWS ?= 3000
WORKSPACE ?= workspace
EXPORTS ?= exports/example
PORT ?= 8501
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# Programs that tests use and pip cannot install, as command:package (Debian's name). Tests skip what
# is missing, with the reason; .ci/run installs it. E.g. chromium:chromium bwrap:bubblewrap
SYSTEM_PACKAGES = chromium:chromium
MISSING = for pair in $(SYSTEM_PACKAGES); do \
	command -v "$${pair%%:*}" >/dev/null 2>&1 || printf '%s ' "$${pair\#\#*:}"; done

BIN := .venv/bin
# Only what is imported is compiled: half of what pip would compile is never used.
IMPORTED := curation.__main__, curation.teacher_process, jobs.__main__, serve, openai, streamlit.web.cli, \
	torch, transformers, sentence_transformers, datasets, peft, accelerate, pandas, \
	pyarrow.parquet, scipy.sparse, sklearn.feature_extraction.text, alembic.command
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input --no-compile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run stop example test check fast bench faults lock clean missing-packages

help: ## list these targets
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON=$(PYTHON) WORKSPACE=$(WORKSPACE) PORT=$(PORT) ROWS=$(ROWS) EXPORTS=$(EXPORTS)"

# Ctrl-C ends the page server; jobs go on in their own process, and the last line says so.
run: .venv/.installed ## install and open the app on http://127.0.0.1:8501
	@$(BIN)/python serve.py --workspace "$(WORKSPACE)" --port $(PORT)

stop: .venv/.installed ## stop the background worker; its job goes on at the next make run
	@$(BIN)/python -m jobs stop --workspace "$(WORKSPACE)"

example: .venv/.installed ## without the app: make the example set (ROWS rows) and export it
	$(BIN)/python -m curation example --rows $(ROWS) --workspace $(WORKSPACE)
	$(BIN)/python -m curation export example --format messages --to $(EXPORTS) --workspace $(WORKSPACE)
	@echo "The data set is in $(EXPORTS), with its card; everything behind it is in $(WORKSPACE)."

test: .venv/.installed-dev ## install what tests need and run them
	@missing=$$($(MISSING)); if [ -n "$$missing" ]; then \
		echo "Missing system packages: $$missing (tests that need them are skipped)"; fi
	@# Two at a time, a file by one of them: tests of a file may stand on those before.
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: .venv/.installed-dev ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy curation jobs training

fast: .venv/.installed ## optional: install OpenVINO, which embeds texts quicker on processors
	$(PIP) --quiet -c requirements.lock -r requirements-fast.txt

bench: .venv/.installed-dev ## timings against the figures to beat
	$(BIN)/python -m pip install --quiet -r requirements-bench.txt
	$(BIN)/python -m bench

faults: .venv/.installed-dev ## the long list of kills and faults (docs: faults F01-F62)
	$(BIN)/python -m pytest -q tests -m faults

lock: $(BIN)/python ## write requirements.lock from what .venv holds
	@# Without constraints, so that a pin changed in requirements.txt can move what hangs on it.
	$(PIP) --quiet -r requirements-dev.txt
	@{ echo "# Versions of everything Winnow was tested with; written by \`make lock\` from \`pip freeze\` of .venv."; \
	   echo "# Constraints, not requirements: they bind only what gets installed anyway. So the same file serves"; \
	   echo "# Linux, macOS and CUDA: torch stands without its build (+cpu), CUDA's own packages are left out."; \
	   $(BIN)/python -m pip freeze --exclude pip --exclude setuptools \
	     | sed 's/^\(torch==[^+]*\)+.*/\1/' | grep -v -i -E '^(nvidia|cuda|triton)|^-e | @ '; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock
	@echo "requirements.lock holds $$(grep -c == requirements.lock) versions."

clean: ## remove .venv and caches (never the workspace or exports)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

missing-packages: ## print the system packages that are missing
	@$(MISSING)

# --- installing: each step leaves a stamp, so that a second make does nothing ---

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
		echo "$(PYTHON) was not found; name a Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Winnow needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) -V 2>&1); try make PYTHON=python3.11"; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

# torch first: from its CPU index where there is no NVIDIA driver, which saves gigabytes on Linux.
.venv/.torch: requirements.txt | $(BIN)/python
	@torch=$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt); \
	if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
		echo "Installing $$torch (CPU build)"; \
		$(PIP) --no-deps --index-url $(TORCH_CPU_INDEX) --retries 1 --timeout 10 "$$torch" || { \
			echo "$(TORCH_CPU_INDEX) did not give it; trying the default index"; \
			$(PIP) --no-deps "$$torch"; }; \
	else \
		echo "Installing $$torch"; \
		$(PIP) --no-deps "$$torch"; \
	fi
	@touch $@

.venv/.installed: requirements.txt requirements.lock .venv/.torch
	@echo "Installing requirements.txt into .venv (minutes the first time)"
	$(PIP) --quiet -c requirements.lock -r requirements.txt
	@echo "Compiling what Winnow imports"
	@# Here and now, whatever the environment says of byte code: each command would do it again without.
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -W ignore -c "import $(IMPORTED)"
	@touch $@

.venv/.installed-dev: requirements-dev.txt requirements-fast.txt .venv/.installed
	$(PIP) --quiet -c requirements.lock -r requirements-dev.txt
	@touch $@

# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Needs Python 3.11 or newer and a C compiler; the rest comes from locked lists.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
ROOM ?= all
SOURCES := $(wildcard ext/*.pyx ext/*.pxd) pyproject.toml
comma := ,
empty :=
space := $(empty) $(empty)
PARTS := $(subst $(space),$(comma) ,$(patsubst ext/%.pyx,ext.%,$(wildcard ext/*.pyx)))
CONSOLE := cloud/gate/console
VENDOR := $(CONSOLE)/static/vendor/.ready

.PHONY: demo test check bench build console clean lock ext generate

demo: build
	@$(BIN)/python -m cloud demo $(ARGS)

# Whole demos mostly wait, two beside each other; everything else shares the machine, a file at a time.
ALONE := tests/e2e tests/faults/test_kills.py

test: build $(BIN)/.dev-ready
ifeq ($(ARGS),)
	@$(BIN)/python -m pytest -n $$(($$(nproc 2>/dev/null || echo 2) + 1)) --maxprocesses 5 --dist loadfile $(ALONE:%=--ignore=%)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ALONE)
else
	@$(BIN)/python -m pytest $(ARGS)
endif

check: build $(BIN)/.dev-ready
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/buf lint

bench: build $(BIN)/.dev-ready
	@$(BIN)/python -m cloud bench $(ROOM) $(ARGS)

build: $(BIN)/.ready console

ext: $(BIN)/.ready

console: $(VENDOR)

$(BIN)/.installed: requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is missing: apt install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it with make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "venv is missing: apt install python3-venv"; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check $$(grep -o '^uv==[0-9.]*' requirements.txt)
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.txt
	@touch $@

# The compiler is asked for by name before anything is tried, so that its absence costs one line.
$(BIN)/.ready: $(BIN)/.installed $(SOURCES)
	@command -v $${CC:-cc} >/dev/null || { echo "A C compiler is missing: apt install build-essential (or set CC), then run make again"; exit 1; }
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import $(PARTS)' || { echo "The compiled parts did not build; see the compiler's words with: $(BIN)/uv pip install --no-deps --no-build-isolation -e ."; exit 1; }
	@touch $@

$(BIN)/.dev-ready: $(BIN)/.installed requirements-dev.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@touch $@

# The console's two browser libraries, from a locked list, with the Node that is there or one from PyPI.
$(VENDOR): $(CONSOLE)/package-lock.json $(CONSOLE)/fetch.py $(BIN)/.installed
	@$(BIN)/python $(CONSOLE)/fetch.py

generate: $(BIN)/.dev-ready
	@protos/generate.sh

lock: $(BIN)/.installed
	@cd . && for list in "requirements.txt:" "requirements-dev.txt:--extra dev --extra anchor --extra browser --extra ansible -c requirements.txt"; do \
	  $(BIN)/uv pip compile -q --generate-hashes --no-header --no-annotate --python-version 3.11 pyproject.toml \
	    --extra cloud --extra mqtt --extra build $${list#*:} -o $${list%%:*}; done

clean:
	@rm -rf $(VENV) build dist *.egg-info .demo ext/*.so ext/*.c $(CONSOLE)/static/vendor $(CONSOLE)/node_modules

# Two commands do everything: `make demo` and `make test`. Both build .venv once, from pinned versions.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed

.PHONY: demo test matrix proof bench docs clean

demo: $(STAMP)
	@$(BIN)/evaline demo

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

matrix: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m matrix

proof: $(STAMP)
	$(BIN)/pytest -m proof

bench: $(STAMP)
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python -m tests.bench

docs: $(STAMP)
	for file in recipe line grades dut; do $(BIN)/evaline reference $$file > docs/$$file-reference.md; done
	$(BIN)/evaline contract --out docs/contract > /dev/null

clean:
	rm -rf $(VENV) var

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "evaline needs Python 3.11 or newer; $$($(PYTHON) --version 2>&1) found. Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "this Python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@echo "installing pinned packages into $(VENV) (about a minute, once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,fast]'
	@touch $@

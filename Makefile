# `make report` and `make test` do all the set-up themselves: Python 3.11 with venv and make are enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: report test benchmark clean

# The stamp is renewed when the dependencies change.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

report: .venv/installed
	$(BIN)/qtheory report --output report.html

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal

benchmark: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,benchmarks]"
	$(BIN)/python -m benchmarks.simulation
	$(BIN)/python -m benchmarks.solvers
	$(BIN)/python -m benchmarks.drains
	$(BIN)/python -m benchmarks.sizing
	$(BIN)/python -m benchmarks.traces

clean:
	rm -rf .venv report.html

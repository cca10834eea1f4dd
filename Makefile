# `make report` and `make test` do all the set-up themselves: Python 3.11 with venv and make are enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: report test docs smoke bench bench-packages benchmark paper results clean

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

# The guide and the reference, docs/_build/index.html.
docs: .venv/installed
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build

# What the bench on real QEMU needs of Debian; its kernel is fetched by apt too.
BENCH := qemu-system-x86 nbdkit nbdkit-plugin-dev libfuse3-dev pkg-config gcc libc6-dev fio busybox-static cpio

bench-packages:
	dpkg -s $(BENCH) >/dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y --no-install-recommends $(BENCH); }

# One small cell on a real QEMU.
smoke: .venv/installed bench-packages
	$(BIN)/python -m validation.qemu.measure --smoke

# All cells that have no data, an hour; then what they say.
bench: .venv/installed bench-packages
	$(BIN)/python -m validation.qemu.measure
	$(BIN)/python -m validation.qemu.compare

# One table of ratios; the peers get environments of their own, in .venv-peers, the first time.
benchmark: .venv/installed
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks

# The paper, paper/paper.pdf: derivations checked, a sample of the committed results made again (not with QUICK=1), then
# TeX, which is installed from Debian where that is possible.
paper: .venv/installed
	sh paper/texlive.sh
	$(BIN)/python -m derivations
	$(BIN)/python -m paper $(if $(QUICK),--quick)

# All of validation/results anew but the bench: half a day. FIO names the table of fio runs.
results: .venv/installed
	$(BIN)/python -m validation $(FIO)

clean:
	rm -rf .venv .venv-peers report.html docs/_build paper/generated paper/derivations paper/paper.pdf

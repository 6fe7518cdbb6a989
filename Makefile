# What CI runs (.ci/run), one step at a time. The virtual environment in use is whichever comes first on PATH.
.PHONY: install check test bench docs

install:  ## the package, editable, with all that the tests need
	pip install -c constraints.txt -e ".[dev,data,text]"

check:  ## ruff and mypy --strict
	.ci/check

test:  ## all tests, then the quick ones again in the C locale under an awkward path
	OMP_NUM_THREADS=1 python -m pytest -n 2
	OMP_NUM_THREADS=1 .ci/portability

bench:  ## the figures of the README; minutes, on a quiet machine
	python benchmarks/embed.py

docs:  ## build docs/_build/html, and run what the pages quote
	.ci/docs

# The few commands a contributor needs. All work is done by cargo and by the scripts in scripts/, which say how.
#
# Needs Rust (with rustfmt and clippy), a C compiler and Python 3. Without Node the wscat checks are skipped.
# Installed on first use: wscat into tests/wscat/node_modules; cargo-deny, whose build takes minutes, into
# $XDG_CACHE_HOME (or ~/.cache)/webchat-tools, outside the checkout, so that a clean checkout does not build it again.

PYTHON ?= python3
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help test lint transcript

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

test: ## lint and every test; ends with the line `N passed, N failed`
	@$(PYTHON) scripts/test.py

lint: ## format, clippy, documentation, licences; the first steps of `make test`
	@$(PYTHON) scripts/test.py lint

transcript: ## run two wscat sessions and write what they printed into README.md
	@$(PYTHON) scripts/transcript.py

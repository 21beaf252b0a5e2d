# The few commands a contributor needs. All work is done by cargo and by the scripts in scripts/, which say how.
#
# Needs Rust (with rustfmt and clippy), a C compiler with binutils and Python 3 (with venv). Without Node the checks of wscat, the
# pages, the CDK app and the emulator are skipped. Installed on first use: node_modules of tests/wscat, tests/browser and cdk; for
# root with apt, Chromium if no browser is there; cargo-deny, cargo-lambda (with zig) and the emulator into $XDG_CACHE_HOME (or
# ~/.cache)/webchat-tools, outside the checkout, so that a clean checkout does not fetch or build them again.

PYTHON ?= python3
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help test lint transcript screenshots bundle deploy destroy bench soak fuzz fuzz-keep

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

test: ## lint and every test; ends with the line `N passed, N failed`
	@$(PYTHON) scripts/test.py

lint: ## format, clippy, documentation, licences; the first steps of `make test`
	@$(PYTHON) scripts/test.py lint

bench: ## how fast it is, against targets: make bench, or make bench PART=lambda
	@$(PYTHON) scripts/bench.py $(PART)

soak: ## run on what tests run for a moment, with fresh seeds: make soak MINUTES=30
	@$(PYTHON) scripts/soak.py "$(MINUTES)"

fuzz: ## look for input that breaks a promise: make fuzz MINUTES=10 [TARGET=frames]; needs a C++ compiler
	@$(PYTHON) scripts/fuzz.py run "$(MINUTES)" "$(TARGET)"

fuzz-keep: ## add what fuzzing found to reach more code to fuzz/corpus: make fuzz-keep [TARGET=frames]
	@$(PYTHON) scripts/fuzz.py keep "" "$(TARGET)"

transcript: ## run two wscat sessions and write what they printed into README.md
	@$(PYTHON) scripts/transcript.py

screenshots: ## take the two pictures of README.md, with an installed Chromium or Chrome
	@$(PYTHON) scripts/screenshots.py

bundle: ## build what Lambda runs, for arm64 and x86_64, into target/lambda
	@$(PYTHON) scripts/bundle.py

# Choices: AUTH=none|iam ALLOWED_ORIGINS=… WEB=true RETENTION_DAYS=… ALARM_EMAIL=… ARCH=arm64|x86_64; what is left out stays as deployed.
deploy: ## put a stage into your AWS account, or bring it up to date: make deploy STAGE=poc
	@$(PYTHON) scripts/deploy.py deploy "stage=$(STAGE)" "auth=$(AUTH)" "allowedOrigins=$(ALLOWED_ORIGINS)" "web=$(WEB)" \
		"retentionDays=$(RETENTION_DAYS)" "alarmEmail=$(ALARM_EMAIL)" "arch=$(ARCH)"

destroy: ## remove a stage but for its events; asks first: make destroy STAGE=poc
	@$(PYTHON) scripts/deploy.py destroy "stage=$(STAGE)" "deleteEvents=$(DELETE_EVENTS)"

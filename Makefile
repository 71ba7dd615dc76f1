# Every target works on a fresh Debian 12 machine: what is missing is installed
# first, with apt-get (as root) and with pip into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(PATH):/usr/sbin:/sbin

BUILD_PACKAGES := python3-venv gcc libc6-dev make clang llvm libbpf-dev libelf-dev zlib1g-dev \
	libpcap-dev iproute2 ethtool netbase
WEB_PACKAGES := nginx-light
LAB_PACKAGES := tcpdump curl iputils-ping util-linux
TEST_PACKAGES := tshark chromium libclang-rt-14-dev
BENCH_PACKAGES := nftables

# $(call install,PACKAGES): those that are missing, and nothing when none is.
install = @missing=""; for package in $(1); do \
	dpkg-query -W -f='$${db:Status-Abbrev}' $$package 2>/dev/null | grep -q '^ii' \
	|| missing="$$missing $$package"; done; \
	[ -z "$$missing" ] || { echo "installing$$missing" && apt-get -qq update && \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing \
	>/dev/null; }

build: $(BIN)/fwdcap native  ## the command .venv/bin/fwdcap

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(BIN)/python:
	$(call install,$(BUILD_PACKAGES))
	$(PYTHON) -m venv $(VENV)

$(BIN)/fwdcap: $(BIN)/python pyproject.toml
	$(call install,$(BUILD_PACKAGES))
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

native: $(BIN)/fwdcap
	@$(MAKE) --no-print-directory -s -C fwdcap/native

$(VENV)/dev: $(BIN)/fwdcap
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: build  ## a lab on this machine: relay, capture, download, and leave it running (root)
	$(call install,$(LAB_PACKAGES))
	@$(BIN)/fwdcap lab demo

test: build $(VENV)/dev  ## all tests (root for the bpf, lab and browser tiers)
	$(call install,$(LAB_PACKAGES) $(WEB_PACKAGES) $(TEST_PACKAGES))
	$(BIN)/python -m pytest -m "not long" $(TESTS)

test-long: build $(VENV)/dev  ## the counts that need longer; writes docs/test-long.md
	$(call install,$(LAB_PACKAGES) $(WEB_PACKAGES) $(TEST_PACKAGES))
	$(BIN)/python -m tests.long

bench: build $(VENV)/dev  ## rates against kernel NAT with tcpdump, downloads against nginx (root; some minutes)
	$(call install,$(LAB_PACKAGES) $(WEB_PACKAGES) $(BENCH_PACKAGES))
	@$(BIN)/python -m tests.bench --json docs/bench.json $(BENCH)
	@$(BIN)/python -m tests.bench.downloads
	@$(BIN)/python -m tests.bench.loaded

check: build $(VENV)/dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## products of the build, not the virtual environment
	@$(MAKE) -s -C fwdcap/native clean

.PHONY: build help native demo test test-long bench check clean

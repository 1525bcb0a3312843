# The commands of the house. All of them work with Go and make alone; what a machine lacks is skipped
# with one line that says so. `make deps` installs on Debian what the fullest tests need.

GO      ?= go
BIN     ?= ./mmsrouter
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)

# The race detector needs cgo and a C compiler; everything else is built without either.
HAVE_CC := $(shell command -v gcc 2>/dev/null)
ifneq ($(HAVE_CC),)
RACE    := -race
TESTENV := CGO_ENABLED=1
else
RACE    :=
TESTENV := CGO_ENABLED=0
endif

# How long each fuzz target runs in test-long, and how long the whole may take.
FUZZTIME  ?= 30s
LONGLIMIT ?= 3h

.PHONY: all build run test test-long fuzz bench bench-quick lint deps clean race-note

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/mmsrouter

run: build
	$(BIN) serve

race-note:
ifeq ($(HAVE_CC),)
	@echo "skip: no gcc here, so the tests run without the race detector"
endif

test: race-note
	$(TESTENV) $(GO) test $(RACE) -timeout 9m ./...

# Crash rounds, every drill, network namespaces, then every fuzz target in turn.
test-long: race-note
	MMSROUTER_LONG=1 $(TESTENV) $(GO) test $(RACE) -count=1 -timeout $(LONGLIMIT) ./...
	@$(MAKE) --no-print-directory fuzz

fuzz:
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "fuzz $$p $$f"; \
	    CGO_ENABLED=0 $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p; \
	  done; \
	done

# Each folder of test/bench that holds a main is one table; peers that are not installed are left out.
bench: build
	@set -e; for d in $$($(GO) list -f '{{if eq .Name "main"}}{{.Dir}}{{end}}' ./test/bench/...); do \
	  echo "== $$(basename $$d)"; $(GO) run $$d $(BENCHFLAGS); done

bench-quick:
	@$(MAKE) --no-print-directory bench BENCHFLAGS=-quick

lint:
	@bad=$$(gofmt -l $$(find . -name '*.go' -not -path './.git/*')); \
	  if [ -n "$$bad" ]; then echo "gofmt would change:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...

deps:
	@sh .ci/deps

clean:
	rm -f $(BIN)
	$(GO) clean -testcache

# One thing each; `make` alone prints this list.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 30s
RACE_PACKAGES = ./analyze/... ./app/... ./enroll/... ./forward/... ./ingest/... ./internal/history/... ./internal/kafka/... ./internal/registry/... ./internal/rulesets/... ./internal/shadowlog/... ./internal/qlang/... ./replay/... ./ruleset/engine/... ./simulate/...

.DEFAULT_GOAL := help
ENGINE_TARGETS = internal/xmlfile:FuzzParse internal/regex/osregex:FuzzMatch internal/regex/pcre:FuzzMatch \
	ruleset/engine:FuzzPredecode ruleset/engine:FuzzFlatten ruleset/engine:FuzzEventChannel \
	internal/regex/osregex:FuzzShortcutsAgreeWithTheProcedure ruleset:FuzzEnginesAgree replay:FuzzLogTime

AGENT_TARGETS = enroll/protocol:FuzzParseRequest ingest/secure:FuzzReadFrames ingest/secure:FuzzOpen ingest/secure:FuzzParseKeepalive \
	ingest/secure:FuzzParseEvent ingest/session:FuzzHandle

.PHONY: help build run test race e2e e2e-containers containers bench bench-pipeline soak fuzz fuzz-peers lint lint-all stock check clean

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

build: ## compile bin/vedette
	@echo "Compiling bin/vedette: some minutes the first time, seconds later. Packages are named as they are done."
	$(GO) build -v -ldflags "-X vedette/internal/buildinfo.version=$(VERSION)" -o bin/vedette ./cmd/vedette

run: build ## build and run everything in one process, with what it needs embedded
	bin/vedette run

test: ## the tests; needs only Go
	$(GO) test ./...

race: ## the tests of what runs concurrently, under the race detector; needs a C compiler
	$(GO) test -race -count=1 $(RACE_PACKAGES)

e2e: ## end-to-end tests on real Kafka and OpenSearch; needs Java 17, Maven, curl, unzip
	$(GO) test -tags e2e -count=1 -timeout 25m -v ./test/e2e/...

e2e-containers: ## the same tests on Kafka and OpenSearch in containers; needs root on Debian, or an engine with Compose
	test/containers/engine.sh
	test/containers/images.sh
	TEST_SERVERS=containers $(GO) test -tags e2e -count=1 -timeout 25m -v ./test/e2e/...

containers: ## docker-compose.yml with kills, restarts and counts; needs root; ROUNDS=10 for ten fresh starts
	test/containers/run.sh

bench: ## benchmarks: engine, gateway, end to end
	$(GO) test -run '^$$' -bench . -benchmem -timeout 20m ./ruleset ./ingest/secure ./test/load

soak: ## an hour of analysis while its members starve, stop, leave and come, and brokers die; needs what e2e needs
	SOAK=1h $(GO) test -tags e2e -count=1 -timeout 90m -v -run TestSoak ./test/e2e

bench-pipeline: ## analysis workers on a real broker: events/s, CPU; needs Java 17, Maven and the stock data
	$(GO) test -tags e2e -run '^$$' -bench BenchmarkWorker -benchtime 1x -timeout 40m ./test/load

fuzz: ## every fuzz target for FUZZTIME each
	GO=$(GO) FUZZTIME=$(FUZZTIME) test/fuzz.sh

fuzz-peers: ## parsers of what agents and logs bring, and what is fast against what is plain; two minutes each, seven at once
	GO=$(GO) FUZZTIME=2m JOBS=7 test/fuzz.sh $(ENGINE_TARGETS) $(AGENT_TARGETS)

lint: ## formatting and vet
	@test -z "$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))" || { gofmt -l $$(git ls-files -co --exclude-standard '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags e2e ./test/...

lint-all: lint ## the same with golangci-lint (.golangci.yml), which must be installed
	golangci-lint run ./...

stock: ## the 4.14.7 ruleset's own tests and recorded answers, where that data is present; prints the shares
	$(GO) test -count=1 -v -run 'TestStock' ./ruleset

check: lint test race stock e2e fuzz-peers containers ## what CI runs; needs root on Debian

clean: ## remove what was built
	rm -rf bin

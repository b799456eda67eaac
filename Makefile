# The targets that a newcomer needs: demo and test. Both need Go, and the network the first time; test needs a C compiler too.
.DEFAULT_GOAL := help
SHELL := /bin/bash
GO ?= go
BIN := bin
VERSION ?=
# AWS's APIs and Prometheus speak HTTP/1.1: HTTP/2 would be half a megabyte of a program that never uses it.
TAGS := nethttpomithttp2
LDFLAGS := -s -w $(if $(VERSION),-X main.version=$(VERSION))
export CGO_ENABLED ?= 0

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/refresher and bin/healthcheck as they are shipped
	$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/refresher ./cmd/healthcheck

.PHONY: demo
demo: build ## Watch tokens being issued, written, renewed and used, without AWS; Ctrl-C ends it, DEMO_SECONDS=N too
	$(GO) build -o $(BIN)/sandbox ./cmd/sandbox
	@$(BIN)/sandbox demo --refresher $(BIN)/refresher $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

.PHONY: test
test: vet lint unit ## Run vet, the linters and all tests with the race detector

.PHONY: vet
vet:
	$(GO) vet ./...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'gofmt would change:'; gofmt -l $$(git ls-files '*.go'); exit 1; }

.PHONY: lint
lint: ## Run the linters of .golangci.yml
	$(GO) tool -modfile=tools/go.mod golangci-lint run ./...

.PHONY: unit
unit: ## Run all tests with the race detector
	CGO_ENABLED=1 $(GO) test -race ./...

.PHONY: rules
rules: ## Check deploy/prometheus with promtool, and the shape of every YAML file
	@command -v promtool >/dev/null || { echo 'make rules needs promtool: apt-get install prometheus' >&2; exit 1; }
	promtool check rules deploy/prometheus/alerts.yaml
	promtool test rules deploy/prometheus/alerts_test.yaml
	promtool check config --syntax-only deploy/prometheus/cloudwatch-agent-prometheus.yaml
	@# A promtool older than 3.8 does not know aws_sd_configs: it checks the rest of that file.
	sed '/aws_sd_configs:/,/refresh_interval:/d' deploy/prometheus/prometheus.yaml | promtool check config --syntax-only /dev/stdin
	$(GO) run -modfile=tools/go.mod deploy/shape.go deploy/prometheus/*.yaml .goreleaser.yaml .github/workflows/*.yml

.PHONY: sbom
sbom: build ## Write bin/refresher.cdx.json: what is in the binary, by its own account, as CycloneDX
	$(GO) tool -modfile=tools/sbom.mod cyclonedx-gomod bin -json -std -noserial -notimestamp $(if $(VERSION),-version $(VERSION)) -output $(BIN)/refresher.cdx.json $(BIN)/refresher

.PHONY: reproducible
reproducible: ## Build HEAD twice, in two directories and with nothing cached, and compare bit for bit
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	for copy in "$$dir/a" "$$dir/b/deeper"; do \
		git clone -q . "$$copy" && GOCACHE="$$copy.cache" GOFLAGS=-buildvcs=true $(MAKE) -s -C "$$copy" build VERSION='$(VERSION)' || exit 1; \
	done && \
	for binary in refresher healthcheck; do cmp "$$dir/a/$(BIN)/$$binary" "$$dir/b/deeper/$(BIN)/$$binary" || exit 1; done && \
	(cd "$$dir/a" && echo "two builds of $$(git rev-parse HEAD) are one:" && sha256sum $(BIN)/*)

# Needs root, and Debian's docker.io busybox-static ca-certificates iptables skopeo podman buildah prometheus. Nothing is pulled.
.PHONY: e2e
e2e: ## Run the image as a task beside real consumers; needs a Docker engine and root. E2E=skip leaves it out
	$(GO) vet -tags e2e ./e2e
	E2E=$(E2E) $(GO) test -tags e2e -count=1 -timeout 25m -v ./e2e $(E2E_FLAGS)

.PHONY: aws-verify
aws-verify: ## On a real AWS account: settle what could not be verified without one; shows what it creates and costs, and asks
	scripts/aws-verify.sh

.PHONY: fleet
fleet: ## Simulate 1,000 to 1,000,000 tasks against the quota; writes the tables of docs/scale.md; a minute or two
	$(GO) run ./cmd/fleet docs/scale.md

# A module of its own, so that no peer is among the product's dependencies. Needs Linux, and root or user namespaces; as root it
# installs those of Debian's packages that are missing: curl awscli prometheus-node-exporter prometheus-blackbox-exporter.
.PHONY: bench
bench: ## Measure beside what could be used instead; writes the tables of docs/benchmarks.md; a quarter of an hour, on a quiet machine
	cd bench && $(GO) vet ./... && $(GO) run . -install -out ../docs/benchmarks.md

.PHONY: bench-quick
bench-quick: ## See that everything of make bench runs; no figure fails it
	cd bench && $(GO) vet ./... && $(GO) test ./... && $(GO) run . -quick

.PHONY: sim
sim: ## Live through a million renewals among faults, and through twenty task-years; SIM_FIRST=N for other worlds
	$(GO) test -count=1 -timeout 60m -v -run 'TestWorld|TestYears|TestReplay|TestPlants' ./internal/sim -renewals 1000000 -years 20 -replays 20 $(if $(SIM_FIRST),-first $(SIM_FIRST))

# A part of it is in every go test. Mounts are made in user namespaces, where nobody needs to be root.
TORTURE_KILLS ?= 2000
TORTURE_VOLUMES ?= 15
TORTURE_SOAK ?= 10000
.PHONY: torture
torture: ## Kill the program 2,000 times, take its room and its rights, renew 10,000 times in one process; 10 minutes
	nice $(GO) test -count=1 -timeout 60m -parallel 3 -v -run TestTorture ./cmd/refresher -kills $(TORTURE_KILLS) -volumes $(TORTURE_VOLUMES) -soak $(TORTURE_SOAK) $(if $(CHANCES),-chances $(CHANCES))

FUZZ_TIME ?= 60s
.PHONY: fuzz
fuzz: ## Feed every fuzz target for a minute, one after another, FUZZ_TIME=5m for longer; the first finding ends it
	@GO=$(GO) scripts/fuzz.sh $(FUZZ_TIME)

.PHONY: mutants
mutants: ## Break the code in twenty ways, one after another, and see the simulation notice each
	$(GO) test -count=1 -timeout 60m -v -run TestMutants ./internal/sim -mutants 3m

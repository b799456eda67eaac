# The targets that a newcomer needs: demo and test. Both need Go and nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/bash
GO ?= go
BIN := bin
VERSION ?=
LDFLAGS := -s -w $(if $(VERSION),-X main.version=$(VERSION))
export CGO_ENABLED ?= 0

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/refresher as it is shipped
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/refresher ./cmd/refresher

.PHONY: demo
demo: build ## Watch tokens being issued, written, renewed and used, without AWS; Ctrl-C ends it, DEMO_SECONDS=N too
	$(GO) build -o $(BIN)/sandbox ./cmd/sandbox
	@$(BIN)/sandbox demo --refresher $(BIN)/refresher $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

.PHONY: test
test: vet lint unit ## Run everything that needs only Go: vet, linters, all tests with the race detector

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

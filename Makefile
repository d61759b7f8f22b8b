# `make test` runs everything that a change has to pass. It installs missing tools.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# A fresh container runs as root and has no sudo.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome || echo /usr/bin/chromium)
export CHROMIUM
FIREFOX ?= $(shell command -v firefox-esr || command -v firefox || echo /usr/bin/firefox-esr)
export FIREFOX

.PHONY: help build test test-go test-web test-sdk test-pages test-docs test-peerjs test-topics test-firefox screenshots dist docs lint prose module release bench fuzz soak deps deps-firefox clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | LC_ALL=C sort -t: -k1,1 | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

build: ## Build the program: build/inbox
	go build -trimpath -ldflags "-s -w -X main.release=$$(git describe --tags --always --dirty 2>/dev/null || true)" -o build/inbox ./cmd/inbox

test: deps build/inbox-test web/node_modules web/sdk/node_modules web/peerjs/node_modules web/topics/node_modules web/docs/node_modules ## Run everything that a change has to pass
	@# Tests timed by a real Redis need the machine to themselves. The others run two at a
	@# time, since browsers mostly wait: the pages, which take longest, next to the rest.
	$(MAKE) --no-print-directory test-go
	$(MAKE) --no-print-directory -j2 test-pages lint test-sdk test-docs test-peerjs test-topics

test-go: ## Run only the Go tests
	go test -race -timeout 12m ./...
	cd bench && go vet ./... && go test ./...
	cd examples/pion && go vet ./... && go test -race ./...
	cd matrix && go vet . && go test -parallel 4
	cd tools/release && go vet . && go test -timeout 12m .
	@# Helm and the types of Kubernetes compile in half the time without optimization.
	cd deploy/helm && go test -gcflags="all=-N -l" .

test-web: test-sdk test-pages test-docs test-peerjs test-topics ## Run only the tests of the SDK and in browsers

test-sdk: build/inbox-test web/sdk/node_modules ## Run only the tests of the SDK
	cd web/sdk && INBOX_BIN=$(CURDIR)/build/inbox-test npm test

test-pages: build/inbox-test web/node_modules ## Run only the tests of the pages
	cd web && INBOX_BIN=$(CURDIR)/build/inbox-test npm test

test-docs: build/inbox-test web/node_modules web/sdk/node_modules web/docs/node_modules ## Run only the tests of README, guides and site
	cd web/docs && INBOX_BIN=$(CURDIR)/build/inbox-test npm test

screenshots: deps build/inbox-test web/node_modules ## Take pictures of all states of the pages: build/screenshots
	cd web && INBOX_BIN=$(CURDIR)/build/inbox-test npm run screenshots

test-peerjs: build/inbox-test web/node_modules web/peerjs/node_modules ## Run only the tests with PeerJS
	cd web/peerjs && INBOX_BIN=$(CURDIR)/build/inbox-test npm test

test-topics: build/inbox-test web/node_modules web/topics/node_modules ## Run only the tests with y-webrtc, Trystero and WebTorrent
	cd web/topics && INBOX_BIN=$(CURDIR)/build/inbox-test npm test

test-firefox: deps deps-firefox build/inbox-test web/node_modules ## Test the SDK and the pages in Firefox
	cd web && INBOX_BIN=$(CURDIR)/build/inbox-test npm run test:firefox

.PHONY: build/inbox-test
build/inbox-test:
	go build -o build/inbox-test ./cmd/inbox

dist: web/sdk/node_modules ## Build the SDK that the server serves: web/dist
	cd web/sdk && npm run dist

docs: web/sdk/node_modules web/docs/node_modules ## Build a site of the documents and APIs: build/docs
	cd web/docs && npm run build

lint: prose ## Check formatting, vet, staticcheck, govulncheck, prose
	@unformatted="$$(gofmt -l .)"; [ -z "$$unformatted" ] || { echo "not formatted with gofmt:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	@changes="$$(go fix -diff ./...)"; [ -z "$$changes" ] || { echo "go fix would change:"; echo "$$changes"; exit 1; }
	go tool -modfile=.ci/tools/go.mod staticcheck ./...
	@.ci/govulncheck

prose: ## Check the language of docs, comments and strings
	@.ci/commits
	@.ci/prose

module: ## Move to another module path: MODULE=example.org/you/inbox
	@[ -n "$(MODULE)" ] || { echo "set the path: make module MODULE=example.org/you/inbox"; exit 2; }
	go run ./tools/module $(MODULE)

# Compiling goreleaser takes minutes, so the tests do without it: tools/release builds the
# same packages and images with the libraries that goreleaser uses.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//' | grep . || echo 0.0.0-dev.$$(git rev-list --count HEAD).g$$(git rev-parse --short HEAD))
RELEASE := build/release
release: deps web/sdk/node_modules ## Build a release, VERSION=1.2.3: build/release
	go build -C .ci/goreleaser -o $(CURDIR)/build/goreleaser/ github.com/goreleaser/goreleaser/v2 github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
	go build -C tools/release -o $(CURDIR)/build/goreleaser/release .
	@export VERSION=$(VERSION) SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) PATH=$(CURDIR)/build/goreleaser:$$PATH; set -x; \
	build/goreleaser/release files; \
	build/goreleaser/goreleaser release --snapshot --clean --parallelism 2; \
	build/goreleaser/release image $(RELEASE); \
	build/goreleaser/release extras $(RELEASE)
	cd tools/release && VERSION=$(VERSION) INBOX_RELEASE_DIR=$(CURDIR)/$(RELEASE) go test -count 1 -run 'TestRelease|TestPublicServer' -v .

bench: web/peerjs/node_modules ## Measure what docs/performance.md lists, in a few minutes
	go test -run '^$$' -bench . -benchmem ./memstore
	cd bench && go run . all
	cd bench && go run . peerjs

FUZZTIME ?= 30s
fuzz: ## Run every fuzz target for FUZZTIME=30s each
	@go list ./... | while read -r pkg; do \
		go test -list '^Fuzz' "$$pkg" | { grep '^Fuzz' || true; } | while read -r target; do \
			echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg"; \
		done; \
	done

soak: test-firefox release web/sdk/node_modules web/peerjs/node_modules web/topics/node_modules ## Repeat the tests at length, in about 40 minutes
	go test -race -count 20 -timeout 20m $$(go list ./... | grep -v redisstore)
	go test -run 'TestStore/model' -timeout 20m ./memstore -rapid.checks 20000
	go test -race -count 5 -timeout 20m ./redisstore
	go test -run '^Test(Standalone|Sentinel|Cluster)$$/model' -timeout 20m ./redisstore -rapid.checks 150
	cd bench && go run . --race ledger
	cd web/sdk && INBOX_GLARE=100 INBOX_RUNS=5000 npm test
	INBOX_COMPARE=1 $(MAKE) --no-print-directory test-peerjs
	INBOX_COMPARE=1 $(MAKE) --no-print-directory test-topics
	cd matrix && for what in all chromium firefox; do INBOX_MATRIX=$$what go test -v -timeout 30m -parallel 3; done
	cd web && INBOX_BIN=$(CURDIR)/build/inbox-test INBOX_MANY=1000 node --test --test-reporter=spec --test-name-pattern="files, received at once" e2e/files-many.test.js

# The tests need more than Go: a browser and Node to drive it, Redis, proxies, and systemd.
# redis-tools includes the server and starts no service.
deps:
	@missing=""; \
	[ -x "$(CHROMIUM)" ] || missing="$$missing chromium"; \
	command -v npm >/dev/null || missing="$$missing nodejs npm"; \
	command -v redis-server valkey-server redis-check-rdb >/dev/null || missing="$$missing redis-tools"; \
	command -v nginx >/dev/null || missing="$$missing nginx-light"; \
	command -v openssl >/dev/null || missing="$$missing openssl"; \
	command -v promtool >/dev/null || missing="$$missing prometheus"; \
	command -v caddy >/dev/null || missing="$$missing caddy"; \
	command -v haproxy >/dev/null || missing="$$missing haproxy"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	[ -r /etc/ssl/certs/ca-certificates.crt ] || missing="$$missing ca-certificates"; \
	{ command -v ip && command -v nft && command -v sysctl; } >/dev/null || missing="$$missing iproute2 nftables procps"; \
	if [ -n "$$missing" ]; then \
		echo "installing:$$missing"; \
		$(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
		for service in nginx caddy haproxy prometheus; do \
			case "$$missing" in *$$service*) $(SUDO) systemctl disable --now $$service 2>/dev/null || true;; esac; \
		done; \
	fi

deps-firefox:
	@[ -x "$(FIREFOX)" ] || { \
		echo "installing: firefox-esr"; \
		$(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends firefox-esr >/dev/null; \
	}

web/node_modules web/sdk/node_modules web/peerjs/node_modules web/topics/node_modules web/docs/node_modules: %/node_modules: %/package-lock.json
	cd $* && npm ci --no-audit --no-fund
	@touch $@

clean: ## Remove everything that was built
	rm -rf build web/{,peerjs/,docs/}node_modules web/sdk/{node_modules,build,dist,docs}

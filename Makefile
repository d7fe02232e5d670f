# make demo   the old-fashioned demo application behind the gate
# make test   everything: installs what the tests need, lints, tests
# make test-apps   the presets and identity rules against all their applications, also the large ones
# make fresh  make demo and make test on a bare Debian in a folder; needs root and debootstrap, an hour
.PHONY: build demo test test-apps fresh deps unit e2e fuzz differential vuln lint xcaddy bench clean

CADDY    := v2.11.9
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
XCADDY   := github.com/caddyserver/xcaddy/cmd/xcaddy@v0.4.5

build:
	go build -o bin/caddymfa ./cmd/caddymfa

demo:
	@echo "Compiling; the first time this takes some minutes."
	@go run ./test/demo

test: deps lint vuln unit e2e fuzz differential xcaddy

# The servers that tests run against. Without root or apt, tests of what is
# missing are skipped by name; in CI they fail.
deps:
	bash test/deps.sh

unit: build
	go test -race -timeout 25m ./caddymfa/... ./examples/... ./test/demoapp/...

e2e: build
	CADDYMFA_BINARY=$(CURDIR)/bin/caddymfa go test -timeout 30m ./test/e2e

test-apps: build
	bash test/deps.sh all
	CADDYMFA_APPS=all CADDYMFA_BINARY=$(CURDIR)/bin/caddymfa go test -timeout 40m -run 'TestPresets|TestAttack_K(29|30)_' ./test/e2e

# The README's two commands where nothing else is.
fresh:
	bash test/fresh.sh

# Each decoder, briefly.
fuzz:
	bash test/fuzz.sh 20000x

# What the gate reads, against what the parsers of applications read: a minute,
# or DURATION=1h. SEED=… repeats a run.
differential:
	DURATION=$(or $(DURATION),1m) go test -count 1 -timeout 0 -parallel 16 -run Differential -v ./caddymfa/internal/differential

# Known vulnerabilities; skipped by name without a database, see test/vuln.sh.
vuln:
	bash test/vuln.sh

lint: bin/golangci-lint
	go vet ./...
	bin/golangci-lint run ./...

bin/golangci-lint:
	GOBIN=$(CURDIR)/bin go install $(GOLANGCI)

# xcaddy builds what xcaddy.txt says, from this checkout and without asking the
# network about a module that is not published.
xcaddy: bin/xcaddy
	go mod download
	GOPROXY=off GONOSUMDB=* GOFLAGS=-mod=mod bin/xcaddy build $(CADDY) --output bin/caddy-xcaddy \
		--with github.com/caddymfa/caddymfa/caddymfa --with github.com/caddymfa/caddymfa/examples/sender --replace github.com/caddymfa/caddymfa=$(CURDIR)
	bin/caddy-xcaddy list-modules | grep -x http.handlers.mfa
	bin/caddy-xcaddy list-modules | grep -x mfa.senders.twilio
	bin/caddy-xcaddy list-modules | grep -x mfa.senders.example

bin/xcaddy:
	GOBIN=$(CURDIR)/bin go install $(XCADDY)

bench: build
	go run ./test/bench

clean:
	rm -rf bin

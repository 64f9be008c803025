.PHONY: build test lint generate ci quickstart

build:
	CGO_ENABLED=0 go build -o bin/peft ./cmd/peft

test:
	go test ./...

lint:
	golangci-lint run ./...

generate:
	go generate ./kernels

quickstart:
	go run ./examples/quickstart

ci:
	.ci/run

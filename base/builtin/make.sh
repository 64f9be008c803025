#!/bin/sh
# Remakes the embedded base from the Go distribution on this machine (`go env GOROOT`) with this project's own
# pretraining. It takes about an hour on two cores; interrupted, it goes on from its checkpoint when started again.
# Arguments are added to the command, for instance --threads 8.
set -eu
cd "$(dirname "$0")/../.."
go run ./cmd/peft pretrain --checkpoint "${TMPDIR:-/tmp}/peft-builtin.checkpoint" "$@" base/builtin/model/base.gguf

#!/usr/bin/env bash
# What 200 steps teach SmolLM2-135M-Instruct, and what they cost elsewhere: perplexities with the set off and on.
#
#   bench/learning.sh MODEL.gguf SHAKESPEARE.txt WIKITEXT.txt GSM8K.jsonl
#
# The router is calibrated on text sampled from the model itself, so on none of these.
set -euo pipefail
[ $# -eq 4 ] || { sed -n '2,6p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
go build -C "$here" -o "$tmp/peft" ./cmd/peft
peft() { "$tmp/peft" --registry "$tmp/registry" --base "$model" "$@"; }
model=$1
bytes=$(wc -c <"$2")
tail -c "$((bytes / 10))" "$2" >"$tmp/held-out.txt"
head -c "$((bytes - bytes / 10))" "$2" >"$tmp/train.txt"

start=$SECONDS
peft init
echo "router: $((SECONDS - start)) s"
start=$SECONDS
peft finetune shakespeare --data "$tmp/train.txt" --eval-data "$tmp/held-out.txt" --steps 200
echo "training with its measurements: $((SECONDS - start)) s"
measure() { # FILE WINDOW COUNT
	for sets in "" shakespeare; do
		printf '%-22s %2d windows of at most %d, set %-12s' "$(basename "$1")" "$3" "$2" "${sets:-off}"
		peft eval --data "$1" --seq-len "$2" --max-windows "$3" --train-all ${sets:+--sets $sets} --json 2>/dev/null |
			sed 's/.*"perplexity":\([0-9.]*\).*"logits_sha256":"\([0-9a-f]\{12\}\).*/perplexity \1 logits \2…/'
	done
}
measure "$tmp/held-out.txt" 256 32
measure "$tmp/held-out.txt" 512 16
measure "$3" 512 16
measure "$4" 512 64 # records, each by itself, question and answer

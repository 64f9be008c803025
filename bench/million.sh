#!/usr/bin/env bash
# A set of 1,048,576 experts on a real model: time and memory of adding it, verifying it and generating with it.
#
#   bench/million.sh MODEL.gguf DATA.txt
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,4p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
go build -C "$here" -o "$tmp/peft" ./cmd/peft
timed() {
	local begun=$EPOCHREALTIME
	"$tmp/peft" --registry "$tmp/registry" --base "$model" "$@" 2>/dev/null &
	local pid=$! peak=0 own=0 now
	while kill -0 $pid 2>/dev/null; do
		now=$(awk '/VmHWM/ {print $2}' /proc/$pid/status 2>/dev/null || true)
		[ "${now:-0}" -gt "$peak" ] && peak=$now
		now=$(awk '/RssAnon/ {print $2}' /proc/$pid/status 2>/dev/null || true)
		[ "${now:-0}" -gt "$own" ] && own=$now
		sleep 0.1
	done
	wait $pid
	awk -v a="$begun" -v b="$EPOCHREALTIME" -v own=$own -v peak=$peak \
		'BEGIN {printf "  -> %.1f s, %d MiB of memory at most, %d MiB with mapped files\n", b - a, own / 1024, peak / 1024}'
}
model=$1
echo "one layer of 1,024 × 1,024 cells:"
timed init --background "$2" --layers 15 --subkeys 1024
echo "add 1,048,576 experts placed by $(basename "$2"):"
timed add-experts million --data "$2" --experts 1048576
echo "generate with it:"
timed generate "The capital of France is" --sets million --max-tokens 32 --json
echo "verify:"
timed verify
du -sh "$tmp/registry" | sed 's/\t.*/ on disk/'
echo "one PEER layer's forward:"
"$tmp/peft" bench retrieval

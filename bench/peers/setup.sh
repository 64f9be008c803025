#!/bin/sh
# Makes the Python environment that the peers run in: bench/peers/setup.sh [DIR]. llama-cpp-python is built from source, for
# this machine, which takes about ten minutes and needs a C++ compiler.
set -eu
dir=${1:-.venv-peers}
python3 -m venv "$dir"
"$dir/bin/pip" install --quiet -r "$(dirname "$0")/requirements.txt"
echo "$dir/bin/python bench/peers/run.py MODEL.gguf TEXT.txt"

#!/bin/sh
# Builds llama.cpp's server for this machine: bench/peers/llama-server.sh [DIR]. Its sources are those that come with
# llama-cpp-python, at the version in requirements.txt; it takes a C++ compiler, cmake, ninja, pip and
# some ten minutes. What gcc 12 makes of its AMX code dies of an illegal instruction: CC=clang-16 CXX=clang++-16 before it helps.
set -eu
dir=${1:-.llama-server}
mkdir -p "$dir"
package=$(grep '^llama-cpp-python==' "$(dirname "$0")/requirements.txt")
python3 -m pip download --quiet --no-deps --no-binary :all: --dest "$dir" "$package"
tar -xzf "$dir"/llama_cpp_python-*.tar.gz -C "$dir"
cmake -S "$dir"/llama_cpp_python-*/vendor/llama.cpp -B "$dir/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DGGML_NATIVE=ON -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF
cmake --build "$dir/build" --target llama-server
echo "go run ./bench/serve -work DIR -base MODEL.gguf -llama $dir/build/bin/llama-server"

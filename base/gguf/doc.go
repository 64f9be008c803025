// Package gguf reads and writes GGUF files, version 3: the format of llama.cpp for models with their tokenizers. It reads
// those that are split over several files too.
//
// The format is specified in the ggml repository (docs/gguf.md). Files are mapped into memory; every count, length and
// offset is checked against the file before it is used, so a damaged or hostile file gives an error and nothing else.
package gguf

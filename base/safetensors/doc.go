// Package safetensors reads and writes the safetensors format of Hugging Face: a JSON header and raw tensors, in one file
// or in shards with an index. Files are mapped into memory; the header is checked against the file before use.
package safetensors

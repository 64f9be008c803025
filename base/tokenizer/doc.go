// Package tokenizer turns text into token ids and back: byte-level byte-pair encoding (arXiv 1508.07909, on bytes as in
// GPT-2) read from GGUF metadata or from a Hugging Face tokenizer.json, with special tokens and chat templates, and
// trained from text for new models.
package tokenizer

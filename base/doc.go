// Package base opens a frozen base model, a GGUF file, a Hugging Face directory or the one built in, with its tokenizer,
// and generates text and measures perplexity with it.
package base

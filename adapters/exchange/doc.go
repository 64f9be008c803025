// Package exchange reads and writes other programs' adapter files: Hugging Face PEFT's directories (LoRA, DoRA, IA3) and
// llama.cpp's GGUF adapters (LoRA). Both are seen as an Adapter, whose matrices are in f32 and in Hugging Face's row order.
//
// It also merges adapters into a model's weights and takes them out again.
//
// Whatever a file asks for that this program does not compute is refused by name: an adapter that is read does here what
// it does there.
package exchange

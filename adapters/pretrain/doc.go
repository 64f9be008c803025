// Package pretrain trains a small decoder of the Llama architecture from scratch and writes it as one GGUF file with its
// tokenizer. It made the embedded base (see base/builtin).
//
// Run does everything: it reads the text, trains the tokenizer, trains the model, measures perplexity on documents that
// were held out, and writes the file. The text is any list of documents; Corpus extracts one that every machine with Go
// has: the documentation and a part of the sources in the Go distribution.
//
// [Instead] puts experts in the place of the dense feed-forward layers: PEER, a product-key memory or a mixture. Such models
// are for comparison; GGUF has no form for them.
//
// Matrices of the blocks are trained with Muon (momentum orthogonalised by Newton-Schulz iterations); the embedding, the
// norms, sub-keys and a mixture's scores with AdamW; and of retrieved experts the rows that a step touched with peer.Adam;
// all in f32. A run stopped at any step and resumed from its checkpoint gives the bits of one that never stopped, for any
// number of threads.
package pretrain

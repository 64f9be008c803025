// Package jinja runs the Jinja templates that come with chat models. They are programs of strangers, so they get what such
// templates use and no more, as in the immutable sandbox of Hugging Face transformers, and every run has a budget of bytes
// and of time, charged for every value before it is made.
//
// A lexer cuts a template into tokens, a parser makes statements and expressions of them, and these run themselves. Values
// are nil (None), undefined, bool, int, float64, string (indexed by code points), []any (lists and tuples), *Dict, and the
// pointers *function, *namespace and *loop. Nothing a template may do changes a list or a dict, so values are shared
// without copying, and only a namespace can reach itself; it prints as a word and is compared as a pointer, so that no
// walk over values goes round in circles.
package jinja

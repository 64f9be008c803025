// Package peft teaches a frozen language model new things while it runs.
package peft

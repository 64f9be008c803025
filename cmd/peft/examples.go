package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// examples are command lines that help shows.
var examples = map[string][]string{
	"init": {
		"peft init",
		"peft --base model.gguf init --background wiki.txt --subkeys 32",
	},
	"add-experts": {
		"peft add-experts manual --data manual.md",
		"peft add-experts support --from ./adapter --data tickets.jsonl --routed",
		"peft add-experts manual --experts +1000",
	},
	"finetune": {
		"peft finetune manual --data manual.md --steps 200",
		"peft finetune support --data tickets.jsonl --kind lora --rank 16 --targets all-linear",
		"peft finetune manual --data manual.md --resume",
		"peft finetune manual --data more.md --forbid-regression 1%",
	},
	"eval": {
		"peft eval --data other.txt --sets manual,support",
		"peft --json eval --data other.txt --auto",
	},
	"generate": {
		`peft generate "To descale the machine," --sets manual`,
		`peft generate "What does E-07 mean?" --chat --auto --temperature 0.7 --seed 1`,
	},
	"logits":   {`peft logits --text "To descale" --sets manual --top 5`},
	"list":     {"peft list", "peft list --bases"},
	"show":     {"peft show manual", "peft --json show manual@2"},
	"history":  {"peft history manual"},
	"rollback": {"peft rollback manual", "peft rollback manual --to 2"},
	"prune":    {"peft prune manual --keep 0.5"},
	"remove":   {"peft remove manual"},
	"export":   {"peft export manual manual.peft", "peft export support ./adapter --format hf", "peft export --merge support model.gguf --type Q8_0"},
	"gate":     {"peft gate manual"},
	"report":   {"peft report --out report.html"},
	"verify":   {"peft verify"},
	"backup":   {"peft backup registry.bak"},
	"restore":  {"peft --registry ./new restore registry.bak"},
	"pull":     {"peft pull HuggingFaceTB/SmolLM2-135M-Instruct", "peft pull owner/name@v1 --file '*.Q8_0.gguf'"},
	"serve":    {"peft serve", "peft --base model.gguf serve --listen 127.0.0.1:9000"},
	"bench":    {"peft bench machine", "peft --base model.gguf --threads 2 bench decode"},
	"keys": {
		"peft keys add alice --sets manual,support* --requests-per-minute 60",
		"peft keys list",
		"peft keys revoke alice",
	},
	"pretrain":   {"peft pretrain ./small --steps 2000"},
	"completion": {"source <(peft completion bash)", "peft completion fish > ~/.config/fish/completions/peft.fish"},
}

// exemplify puts a command's examples at the end of its description.
func exemplify(c *cli.Command) {
	lines := examples[c.Name]
	if len(lines) == 0 {
		return
	}
	if c.Description = strings.TrimRight(c.Description, "\n"); c.Description != "" {
		c.Description += "\n\n"
	}
	c.Description += "Examples:\n  " + strings.Join(lines, "\n  ")
}

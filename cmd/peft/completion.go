package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completing ends a command line that a shell asks to complete; the parser answers it with what may stand there.
const completing = "--generate-bash-completion"

const bashCompletion = `# peft completion for bash; in ~/.bashrc: source <(peft completion bash)
_peft() {
	local word=${COMP_WORDS[COMP_CWORD]} line=("${COMP_WORDS[@]:0:COMP_CWORD}")
	[[ $word == -* ]] && line+=("$word")
	mapfile -t COMPREPLY < <(compgen -W "$("${line[@]}" --generate-bash-completion 2>/dev/null)" -- "$word")
}
complete -o bashdefault -o default -F _peft peft
`

const zshCompletion = `#compdef peft
# peft completion for zsh; in ~/.zshrc, after compinit: source <(peft completion zsh)
_peft() {
	local word=${words[CURRENT]}
	local -a line=("${(@)words[1,CURRENT-1]}") found
	[[ $word == -* ]] && line+=("$word")
	found=("${(@f)$(_CLI_ZSH_AUTOCOMPLETE_HACK=1 "${line[@]}" --generate-bash-completion 2>/dev/null)}")
	if [[ -n $found ]]; then _describe peft found; else _files; fi
}
compdef _peft peft
`

func completionCommand() *cli.Command {
	scripts := map[string]func(*cli.App) (string, error){
		"bash": func(*cli.App) (string, error) { return bashCompletion, nil },
		"zsh":  func(*cli.App) (string, error) { return zshCompletion, nil },
		"fish": (*cli.App).ToFishCompletion,
	}
	shells := strings.Join(slices.Sorted(maps.Keys(scripts)), ", ")
	return &cli.Command{
		Name: "completion", Usage: "print what a shell needs to complete command lines: " + shells, ArgsUsage: "SHELL",
		Action: func(c *cli.Context) error {
			if err := want(c, "SHELL"); err != nil {
				return err
			}
			script := scripts[c.Args().First()]
			if script == nil {
				return usagef("completion: no script for %q; there are %s", c.Args().First(), shells)
			}
			text, err := script(c.App)
			if err != nil {
				return fmt.Errorf("completion: %w", err)
			}
			_, err = io.WriteString(c.App.Writer, text)
			return err
		},
	}
}

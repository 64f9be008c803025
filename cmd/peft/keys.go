package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/cmd/peft/internal/access"
)

func keysCommand() *cli.Command {
	return &cli.Command{
		Name: "keys", Usage: "API keys of the server: keys add NAME, keys list, keys revoke NAME", ArgsUsage: "add NAME | list | revoke NAME",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "admin", Usage: "add: the key may change sets, run jobs and profile, too"},
			&cli.BoolFlag{Name: "metrics", Usage: "add: the key may read /metrics, and nothing else"},
			&cli.StringFlag{Name: "sets", Usage: "add: `NAMES` and patterns (a,b*) of the sets that the key sees", DefaultText: "all"},
			&cli.IntFlag{Name: "tokens-per-minute", Usage: "add: at most `N` tokens, read and written", DefaultText: "no limit"},
			&cli.IntFlag{Name: "requests-per-minute", Usage: "add: at most `N` requests", DefaultText: "no limit"},
		},
		Action: func(c *cli.Context) error {
			switch what := c.Args().First(); what {
			case "add":
				return addKey(c)
			case "list":
				return listKeys(c)
			case "revoke":
				return revokeKey(c)
			default:
				return usagef("keys: %q: want add NAME, list or revoke NAME", what)
			}
		},
	}
}

func addKey(c *cli.Context) error {
	if err := want(c, "add", "NAME"); err != nil {
		return err
	}
	r := access.Rights{Admin: c.Bool("admin"), Metrics: c.Bool("metrics"), TokensPerMinute: c.Int("tokens-per-minute"), RequestsPerMinute: c.Int("requests-per-minute")}
	if s := c.String("sets"); s != "" {
		r.Sets = strings.Split(s, ",")
	} else if c.IsSet("sets") { // a variable that was empty must not open everything
		return usagef("keys: --sets is empty; leave it out for all sets")
	}
	return withEngine(c, func(e *peft.Engine) error {
		k, secret, err := access.Add(c.Context, e.Registry(), c.Args().Get(1), r)
		if err != nil {
			return err
		}
		shown := struct {
			*access.Key
			Secret string `json:"key"`
		}{k, secret}
		return result(c, shown, func(w io.Writer) {
			fmt.Fprintln(w, secret)
			fmt.Fprintf(c.App.ErrWriter, "key %s; it is shown this once, and the registry has only its hash\n", k.Name)
		})
	})
}

func listKeys(c *cli.Context) error {
	if err := want(c, "list"); err != nil {
		return err
	}
	return withEngine(c, func(e *peft.Engine) error {
		keys, err := access.List(e.Registry())
		if err != nil {
			return err
		}
		return result(c, map[string]any{"keys": keys}, func(w io.Writer) { printKeys(w, keys) })
	})
}

func printKeys(w io.Writer, keys []access.Key) {
	if len(keys) == 0 {
		fmt.Fprintln(w, "no keys: the server answers on this machine alone, and everybody on it")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tMAY\tSETS\tTOKENS/MIN\tREQUESTS/MIN\tCREATED")
	limit := func(n int) string {
		if n == 0 {
			return "no limit"
		}
		return strconv.Itoa(n)
	}
	for _, k := range keys {
		may, sets := "use", "all"
		switch {
		case k.Admin:
			may = "everything"
		case k.Metrics:
			may, sets = "read metrics", "none"
		case len(k.Sets) > 0:
			sets = strings.Join(k.Sets, ",")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, may, sets, limit(k.TokensPerMinute), limit(k.RequestsPerMinute), k.Created.Local().Format(time.DateTime))
	}
	_ = t.Flush() // w is standard output; its errors show there
}

func revokeKey(c *cli.Context) error {
	if err := want(c, "revoke", "NAME"); err != nil {
		return err
	}
	name := c.Args().Get(1)
	return withEngine(c, func(e *peft.Engine) error {
		if err := access.Revoke(c.Context, e.Registry(), name); err != nil {
			return err
		}
		return result(c, map[string]any{"revoked": name}, func(w io.Writer) { fmt.Fprintf(w, "key %s is not valid any more\n", name) })
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/cmd/peft/internal/access"
	"github.com/gopeft/peft/cmd/peft/internal/server"
)

// Times of connections. Answers have none: they stream.
const (
	headerTime = 10 * time.Second
	idleTime   = 2 * time.Minute
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "serve the base and its sets by the OpenAI protocol",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8080", Usage: "the `ADDRESS`; one that other machines reach needs API keys (peft keys add)"},
			&cli.BoolFlag{Name: "insecure", Usage: "answer without API keys to whoever asks, also from other machines"},
			&cli.StringFlag{Name: "tls-cert", Usage: "the `FILE` of the certificate, with --tls-key, for HTTPS"},
			&cli.StringFlag{Name: "tls-key", Usage: "the `FILE` of the certificate's key"},
			&cli.StringSliceFlag{Name: "cors-origin", Usage: "`ORIGIN` of pages that may call the server, such as https://chat.example; * for all"},
			&cli.Int64Flag{Name: "max-body", Value: 8 << 20, Usage: "the most `BYTES` of a request that is no upload"},
			&cli.IntFlag{Name: "max-tokens", Usage: "the most tokens `N` of a prompt, and of an answer", DefaultText: "what the base takes"},
			&cli.IntFlag{Name: "batch-tokens", Value: 256, Usage: "how many tokens `N` one pass over the base takes at most; long prompts are read in parts, of which each holds up the answers that are being written"},
			&cli.IntFlag{Name: "requests-per-minute", Usage: "at most `N` requests of one address", DefaultText: "no limit"},
			&cli.StringFlag{Name: "uploads", Usage: "the `DIR` of uploaded files", DefaultText: "uploads in the registry's"},
			&cli.DurationFlag{Name: "drain", Value: 30 * time.Second, Usage: "how long running answers may go on after SIGTERM"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`FORMAT` of the log on standard error: text or json"},
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "`LEVEL` of the log: debug, info, warn or error"},
		},
		Action: func(c *cli.Context) error {
			if err := want(c); err != nil {
				return err
			}
			if c.IsSet("tls-cert") != c.IsSet("tls-key") {
				return usagef("serve: --tls-cert and --tls-key go together")
			}
			for _, f := range []string{"max-tokens", "max-body", "batch-tokens", "requests-per-minute"} {
				if c.IsSet(f) && c.Int64(f) < 1 && c.Int(f) < 1 {
					return usagef("serve: --%s: want at least 1", f)
				}
			}
			log, err := newLog(c)
			if err != nil {
				return err
			}
			return withOwnEngine(c, func(e *peft.Engine) error { return serve(c, e, log) })
		},
	}
}

func newLog(c *cli.Context) (*slog.Logger, error) {
	o := &slog.HandlerOptions{}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, usagef("serve: --log-level %s: want debug, info, warn or error", c.String("log-level"))
	}
	o.Level = level
	switch f := c.String("log-format"); f {
	case "text":
		return slog.New(slog.NewTextHandler(c.App.ErrWriter, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(c.App.ErrWriter, o)), nil
	default:
		return nil, usagef("serve: --log-format %s: want text or json", f)
	}
}

// exposed reports whether other machines can reach an address.
func exposed(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return !ok || !t.IP.IsLoopback()
}

func serve(c *cli.Context, e *peft.Engine, log *slog.Logger) (err error) {
	l, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer func() { err = errors.Join(err, closed(l.Close())) }()
	open := exposed(l.Addr())
	if open && !c.Bool("insecure") && !access.Any(e.Registry()) {
		return fmt.Errorf("serve: other machines reach %s, and the registry has no API keys: make one with peft keys add NAME, listen on 127.0.0.1, or add --insecure to answer everybody", l.Addr())
	}
	if _, err := e.Base(); err != nil { // before anybody waits for it
		return err
	}
	tracer, flush, err := server.Traces(c.Context)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	h, err := server.New(e, server.Options{
		Batch: peft.BatchOptions{BatchTokens: c.Int("batch-tokens")}, Uploads: c.String("uploads"), Log: log, Tracer: tracer,
		Access: server.AccessOptions{
			Required: open && !c.Bool("insecure"), Insecure: c.Bool("insecure"), Origins: c.StringSlice("cors-origin"),
			Limits: server.Limits{MaxBody: c.Int64("max-body"), MaxTokens: c.Int("max-tokens"), RequestsPerMinute: c.Int("requests-per-minute")},
		},
	})
	if err != nil {
		return err
	}
	others, err := host(e, h)
	if err != nil { // it serves without
		log.Warn("other commands cannot use the registry while it is served", "error", err.Error())
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	done := make(chan error, 1)
	go func() {
		if cert := c.String("tls-cert"); cert != "" {
			done <- srv.ServeTLS(l, cert, c.String("tls-key"))
		} else {
			done <- srv.Serve(l)
		}
	}()
	scheme := "http"
	if c.IsSet("tls-cert") {
		scheme = "https"
	}
	fmt.Fprintf(c.App.ErrWriter, "listening on %s://%s\n", scheme, l.Addr())
	select {
	case err = <-done:
		err = fmt.Errorf("serve: %w", err)
	case <-c.Context.Done():
		err = nil
		log.Info("going down", "drain", c.Duration("drain").String())
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Duration("drain"))
	defer cancel()
	if others != nil {
		err = errors.Join(err, others.Close())
	}
	if derr := h.Drain(ctx); derr != nil {
		log.Warn("drained", "error", derr.Error())
	}
	err = errors.Join(err, h.Close(ctx), closed(srv.Close()))
	flushing, stop := context.WithTimeout(context.Background(), headerTime)
	defer stop()
	if ferr := flush(flushing); ferr != nil { // what is told about the work is no part of it
		log.Warn("traces", "error", ferr.Error())
	}
	return err
}

// closed drops the error of closing what is closed.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

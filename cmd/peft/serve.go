package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/cmd/peft/internal/server"
)

// drainTime is how long running answers may go on after a signal.
const drainTime = 30 * time.Second

func serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "serve the base and its sets by the OpenAI protocol",
		Flags: []cli.Flag{&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8080", Usage: "the `ADDRESS`; there is no access control yet, so keep it on this machine"}},
		Action: func(c *cli.Context) error {
			if err := want(c); err != nil {
				return err
			}
			return withOwnEngine(c, func(e *peft.Engine) error { return serve(c, e) })
		},
	}
}

func serve(c *cli.Context, e *peft.Engine) error {
	if _, err := e.Base(); err != nil { // before anybody waits for it
		return err
	}
	l, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	h, err := server.New(e, server.Options{})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	srv.RegisterOnShutdown(h.Interrupt)
	others, err := host(e, h)
	if err != nil { // it serves without
		fmt.Fprintln(c.App.ErrWriter, "peft: warning: other commands cannot use the registry while it is served:", err)
	}
	fmt.Fprintf(c.App.ErrWriter, "listening on http://%s\n", l.Addr())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err = <-done:
		err = fmt.Errorf("serve: %w", err)
		done <- http.ErrServerClosed
	case <-c.Context.Done():
		err = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if others != nil {
		err = errors.Join(err, others.Close())
	}
	err = errors.Join(err, srv.Shutdown(ctx), h.Close(ctx))
	if serr := <-done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

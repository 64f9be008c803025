package main

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestServeRefuses: without keys a server does not listen where other machines reach it, and half a certificate is none.
func TestServeRefuses(t *testing.T) {
	reg := filepath.Join(t.TempDir(), "r")
	for _, address := range []string{"0.0.0.0:0", "[::]:0"} {
		code, _, errs := call(t, "--registry", reg, "serve", "--listen", address)
		if code != 1 || !strings.Contains(errs, "peft keys add") && !strings.Contains(errs, "address family not supported") {
			t.Errorf("serve --listen %s without keys: %d, %q", address, code, errs)
		}
	}
	if code, _, errs := call(t, "--registry", reg, "serve", "--tls-cert", "c.pem"); code != 2 || !strings.Contains(errs, "--tls-key") {
		t.Errorf("serve with a certificate alone: %d, %q", code, errs)
	}
	if code, _, errs := call(t, "--registry", reg, "serve", "--listen", "127.0.0.1:0", "--tls-cert", "none.pem", "--tls-key", "none.pem"); code != 1 || !strings.Contains(errs, "none.pem") {
		t.Errorf("serve with a certificate that is not there: %d, %q", code, errs)
	}
}

// TestServeTLS: with a certificate a client that trusts it is answered by HTTPS, and one that does not is not; nobody by HTTP.
func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	made := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate and a client that trusts it
	defer made.Close()
	pair := made.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	url, end := served(t, filepath.Join(dir, "r"), "--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	status := func(c *http.Client, url string) (int, error) {
		r, err := c.Get(url + "/v1/models")
		if err != nil {
			return 0, err
		}
		return r.StatusCode, r.Body.Close()
	}
	if code, err := status(made.Client(), url); err != nil || code != http.StatusOK {
		t.Errorf("%s with its certificate: %d, %v", url, code, err)
	}
	if _, err := status(http.DefaultClient, url); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%s without trust in its certificate: %v", url, err)
	}
	if code, err := status(http.DefaultClient, "http"+strings.TrimPrefix(url, "https")); err == nil && code != http.StatusBadRequest {
		t.Errorf("by HTTP: %d", code)
	}
	if code := end(); code != 0 {
		t.Errorf("serve ended with %d", code)
	}
}

// An application that knows no password: it asks its sidecar for one whenever it opens a
// connection to PostgreSQL, and starts afresh when the sidecar says that it changed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The sidecar is an abstract unix socket of our own network namespace: no file, no port, and
// nothing that a URL could lead to.
var sidecar = http.Client{Transport: &http.Transport{
	DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", "@sidekey")
	},
}}

type credentials struct{ Username, Password string }

// ask returns the credentials and their version, or waits up to 30 seconds for others than
// those of version seen.
func ask(ctx context.Context, seen string) (login credentials, version string, err error) {
	url := "http://localhost/secrets/db"
	if seen != "" {
		url += "?wait=30s"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return login, "", err
	}
	if seen != "" {
		request.Header.Set("If-None-Match", seen)
	}
	response, err := sidecar.Do(request)
	if err != nil {
		return login, "", err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusNotModified:
		return login, seen, nil
	case http.StatusOK:
		return login, response.Header.Get("ETag"), json.NewDecoder(response.Body).Decode(&login)
	default:
		return login, "", errors.New("the sidecar says " + response.Status)
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "health" {
		response, err := http.Get("http://127.0.0.1:8080/")
		if err != nil || response.StatusCode != http.StatusOK {
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	// DATABASE_URL names host, database and TLS, and no user and no password.
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	config.BeforeConnect = func(ctx context.Context, connection *pgx.ConnConfig) error {
		login, _, err := ask(ctx, "")
		connection.User, connection.Password = login.Username, login.Password
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	go reconnectOnRotation(ctx, pool)

	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		var user, version string
		row := pool.QueryRow(r.Context(), "SELECT current_user, current_setting('server_version')")
		if err := row.Scan(&user, &version); err != nil {
			log.Print(err)
			http.Error(w, "the database cannot be asked", http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "PostgreSQL %s knows me as %s\n", version, user)
	})
	server := http.Server{Addr: ":8080", ReadHeaderTimeout: 5 * time.Second}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		<-ctx.Done()
		patience, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(patience)
	}()
	log.Print("listening on ", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	// It returns at once; the requests under way are what Shutdown waits for.
	<-answered
}

// reconnectOnRotation has connections made anew when the credentials changed: the old ones
// are about to be taken away.
func reconnectOnRotation(ctx context.Context, pool *pgxpool.Pool) {
	seen := ""
	for ctx.Err() == nil {
		_, version, err := ask(ctx, seen)
		switch {
		case err != nil:
			log.Print(err)
			time.Sleep(time.Second)
		case seen == "":
			seen = version
		case version != seen:
			log.Print("the credentials changed")
			seen = version
			pool.Reset()
		}
	}
}

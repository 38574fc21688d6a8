// TLS by Go's library, as Vault speaks it, with the post-quantum key exchange and no other.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

func main() {
	switch os.Args[1] {
	case "ask": // ADDRESS NAME CA: one request; prints the answer
		ask(os.Args[2], os.Args[3], os.Args[4])
	case "http2": // ADDRESS NAME CA: one request over HTTP/2, or none; prints version and body of the answer
		http2(os.Args[2], os.Args[3], os.Args[4])
	case "serve": // CERTIFICATE KEY: prints its address; greets each connection until stdin ends
		serve(os.Args[2], os.Args[3])
	}
}

func hybrid() *tls.Config {
	return &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}, MinVersion: tls.VersionTLS13}
}

func trusting(name, ca string) *tls.Config {
	config := hybrid()
	config.ServerName = name
	config.RootCAs = x509.NewCertPool()
	config.RootCAs.AppendCertsFromPEM(must(os.ReadFile(ca)))
	return config
}

func http2(address, name, ca string) {
	transport := &http.Transport{TLSClientConfig: trusting(name, ca), Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP2(true)
	transport.DialContext = func(context context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(context, network, address)
	}
	client := http.Client{Transport: transport}
	answer := must(client.Post("https://"+name+"/", "text/plain", strings.NewReader("message")))
	fmt.Println(answer.Proto, string(must(io.ReadAll(answer.Body))))
}

func ask(address, name, ca string) {
	connection := must(tls.Dial("tcp", address, trusting(name, ca)))
	fmt.Fprintf(connection, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name)
	must(io.Copy(os.Stdout, connection))
}

func serve(certificate, key string) {
	config := hybrid()
	config.Certificates = []tls.Certificate{must(tls.LoadX509KeyPair(certificate, key))}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Println(listener.Addr())
	go func() {
		for {
			connection := tls.Server(must(listener.Accept()), config)
			fmt.Fprint(connection, "agreed")
			connection.Close()
		}
	}()
	io.Copy(io.Discard, os.Stdin)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

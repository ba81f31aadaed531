// A TURN server made of pion, for interoperability tests.
//
//	server -secret S [-realm R] [-quota N] -cert FILE -key FILE
//
// Serves UDP and TCP on one port of 127.0.0.1 and TLS on another, with the REST scheme, and relays IPv4. Prints `ready udp=H:P tls=H:P`, then a
// line for each allocation that is made or removed, on stderr, until it is killed.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"
)

// UDP and TCP shall have one port: so many are tried.
const portsTried = 20

var (
	secret = flag.String("secret", "", "what passwords are made of")
	realm  = flag.String("realm", "moray", "realm")
	quota  = flag.Int64("quota", 1000, "allocations at once")
	cert   = flag.String("cert", "", "certificate, PEM")
	key    = flag.String("key", "", "its key, PEM")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

func run() error {
	udp, tcp, err := listen()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return err
	}
	secured, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		return err
	}
	relay := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	var held atomic.Int64
	_, err = turn.NewServer(turn.ServerConfig{
		Realm:       *realm,
		AuthHandler: turn.LongTermTURNRESTAuthHandler(*secret, nil),
		QuotaHandler: func(_, _ string, _ net.Addr) bool {
			return held.Load() < *quota
		},
		EventHandler: turn.EventHandler{
			OnAllocationCreated: func(source, _ net.Addr, protocol, _, _ string, _ net.Addr, _ int) {
				fmt.Fprintf(os.Stderr, "allocated %s %s %d\n", protocol, source, held.Add(1))
			},
			OnAllocationDeleted: func(source, _ net.Addr, protocol, _, _ string) {
				fmt.Fprintf(os.Stderr, "removed %s %s %d\n", protocol, source, held.Add(-1))
			},
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: udp, RelayAddressGenerator: relay}},
		ListenerConfigs: []turn.ListenerConfig{
			{Listener: tcp, RelayAddressGenerator: relay},
			{Listener: secured, RelayAddressGenerator: relay},
		},
		LoggerFactory: logging.NewDefaultLoggerFactory(),
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "ready udp=%s tls=%s\n", udp.LocalAddr(), secured.Addr())
	return nil
}

func listen() (net.PacketConn, net.Listener, error) {
	var failed error
	for i := 0; i < portsTried; i++ {
		tcp, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		udp, err := net.ListenPacket("udp4", tcp.Addr().String())
		if err == nil {
			return udp, tcp, nil
		}
		failed = err
		_ = tcp.Close()
	}
	return nil, nil, failed
}

// A TURN client made of pion, for interoperability tests.
//
//	pion -server H:P [-transport udp|tcp|tls] -username U -password P [-realm R] [-count N] [-datagrams N]
//
// Makes that many allocations at once, sends datagrams through each to an echo of its own and waits for them; prints one line of JSON:
// {"allocations":N,"echoed":N,"bytes":N}. Any failure is one line on stderr and exit 1. Certificates are not checked.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"
)

const (
	answerWithin = 10 * time.Second
	// Allocations that are being made at once.
	makersMax = 32
	// pion reads nothing from a stream before nine bytes of it are there.
	shortest = 16
)

var (
	server    = flag.String("server", "", "the relay")
	transport = flag.String("transport", "udp", "udp, tcp or tls")
	username  = flag.String("username", "", "user name")
	password  = flag.String("password", "", "password")
	realm     = flag.String("realm", "moray", "realm")
	count     = flag.Int("count", 1, "allocations")
	datagrams = flag.Int("datagrams", 10, "datagrams through each")
)

func main() {
	flag.Parse()
	result, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(result)
}

type outcome struct {
	Allocations int   `json:"allocations"`
	Echoed      int64 `json:"echoed"`
	Bytes       int64 `json:"bytes"`
}

func run() (outcome, error) {
	echo, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return outcome{}, err
	}
	defer echo.Close()
	go sendBack(echo)
	var (
		result  outcome
		all     sync.WaitGroup
		makers  = make(chan struct{}, makersMax)
		failed  = make(chan error, *count)
		clients = make(chan func(), *count)
	)
	for i := 0; i < *count; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			makers <- struct{}{}
			relayed, stop, err := allocate()
			<-makers
			if err != nil {
				failed <- err
				return
			}
			clients <- stop
			echoed, bytes, err := talk(relayed, echo.LocalAddr())
			atomic.AddInt64(&result.Echoed, echoed)
			atomic.AddInt64(&result.Bytes, bytes)
			if err != nil {
				failed <- err
			}
		}()
	}
	all.Wait()
	result.Allocations = len(clients)
	close(clients)
	for stop := range clients {
		stop()
	}
	select {
	case err := <-failed:
		return result, err
	default:
		return result, nil
	}
}

func connection() (net.PacketConn, error) {
	switch *transport {
	case "udp":
		return net.ListenPacket("udp4", "127.0.0.1:0")
	case "tcp":
		conn, err := net.Dial("tcp", *server)
		if err != nil {
			return nil, err
		}
		return turn.NewSTUNConn(conn), nil
	case "tls":
		conn, err := tls.Dial("tcp", *server, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return nil, err
		}
		return turn.NewSTUNConn(conn), nil
	default:
		return nil, fmt.Errorf("no transport %q", *transport)
	}
}

func allocate() (net.PacketConn, func(), error) {
	conn, err := connection()
	if err != nil {
		return nil, nil, err
	}
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: *server,
		TURNServerAddr: *server,
		Conn:           conn,
		Username:       *username,
		Password:       *password,
		Realm:          *realm,
		LoggerFactory:  logging.NewDefaultLoggerFactory(),
	})
	if err != nil {
		return nil, nil, err
	}
	if err := client.Listen(); err != nil {
		return nil, nil, err
	}
	relayed, err := client.Allocate()
	if err != nil {
		client.Close()
		return nil, nil, fmt.Errorf("allocate: %w", err)
	}
	return relayed, func() {
		_ = relayed.Close()
		client.Close()
		_ = conn.Close()
	}, nil
}

func talk(relayed net.PacketConn, to net.Addr) (int64, int64, error) {
	buffer := make([]byte, 1600)
	var echoed, bytes int64
	for i := 0; i < *datagrams; i++ {
		// The first ones go by Send, until the channel is bound.
		data := make([]byte, shortest+(i*131)%1200)
		for at := range data {
			data[at] = byte(i + at)
		}
		if _, err := relayed.WriteTo(data, to); err != nil {
			return echoed, bytes, fmt.Errorf("send: %w", err)
		}
		_ = relayed.SetReadDeadline(time.Now().Add(answerWithin))
		n, _, err := relayed.ReadFrom(buffer)
		if err != nil {
			return echoed, bytes, fmt.Errorf("receive: %w", err)
		}
		if string(buffer[:n]) != string(data) {
			return echoed, bytes, fmt.Errorf("datagram %d came back as another", i)
		}
		echoed++
		bytes += int64(n)
	}
	return echoed, bytes, nil
}

func sendBack(echo net.PacketConn) {
	buffer := make([]byte, 65536)
	for {
		n, from, err := echo.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = echo.WriteTo(buffer[:n], from)
	}
}

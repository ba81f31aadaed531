// netstack is wireguard-go with gVisor's TCP on top, without a TUN device: what wireproxy and tsnet stand on.
//
//	netstack CONFIG ADDRESS MTU CONTROL
//
// CONFIG is a file in the form of wireguard-go's UAPI, ADDRESS this end's inside the tunnel, and CONTROL the path of
// a unix socket. The program serves the load of bench/load/protocol.ts on port 7 inside the tunnel and makes such a
// load when a line on the unix socket asks for it, as bench/stream_node.ts does.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"
)

const (
	loadPort   = 7
	chunkBytes = 128 << 10
	headBytes  = 9
	replyBytes = 16
	pingWarmUp = 50
	dialTime   = 20 * time.Second
	lingerTime = 2 * time.Second
)

const (
	kindSend    = 'S'
	kindReceive = 'R'
	kindEcho    = 'E'
)

// order is one line on the control socket.
type order struct {
	Kind      string `json:"kind"` // send, receive or ping
	Target    string `json:"target"`
	Streams   int    `json:"streams"`
	SkipMs    uint32 `json:"skipMs"`
	MeasureMs uint32 `json:"measureMs"`
	Count     int    `json:"count"`
}

// flow is what one stream carried while it was measured.
type flow struct {
	Bytes   uint64  `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "netstack:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return errors.New("usage: netstack CONFIG ADDRESS MTU CONTROL")
	}
	config, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	address, err := netip.ParseAddr(args[1])
	if err != nil {
		return err
	}
	mtu, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	tun, tnet, err := netstack.CreateNetTUN([]netip.Addr{address}, nil, mtu)
	if err != nil {
		return err
	}
	dev := device.NewDevice(tun, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
	if err := dev.IpcSet(string(config)); err != nil {
		return err
	}
	if err := dev.Up(); err != nil {
		return err
	}
	listener, err := tnet.ListenTCP(&net.TCPAddr{Port: loadPort})
	if err != nil {
		return err
	}
	go serve(listener)
	control, err := net.Listen("unix", args[3])
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "ready control="+args[3])
	for {
		client, err := control.Accept()
		if err != nil {
			return err
		}
		go obey(tnet, client)
	}
}

// ---- the serving side

func serve(listener net.Listener) {
	for {
		stream, err := listener.Accept()
		if err != nil {
			return
		}
		// A client that breaks off ends its own connection only.
		go answer(stream)
	}
}

func answer(stream net.Conn) {
	defer stream.Close()
	head := make([]byte, headBytes)
	if _, err := io.ReadFull(stream, head); err != nil {
		return
	}
	skip := time.Duration(binary.BigEndian.Uint32(head[1:])) * time.Millisecond
	measure := time.Duration(binary.BigEndian.Uint32(head[5:])) * time.Millisecond
	switch head[0] {
	case kindSend:
		got, err := take(stream, skip, measure)
		if err != nil {
			return
		}
		reply := make([]byte, replyBytes)
		binary.BigEndian.PutUint64(reply, got.Bytes)
		binary.BigEndian.PutUint64(reply[8:], uint64(got.Seconds*1e6))
		stream.Write(reply)
		// Closing at once would be a reset that overtakes the reply; reading on for ever would keep the link busy.
		stream.SetReadDeadline(time.Now().Add(lingerTime))
		io.Copy(io.Discard, stream)
	case kindReceive:
		give(stream)
	case kindEcho:
		io.Copy(stream, stream)
	}
}

// take reads for skip from the first byte, then counts for measure.
func take(stream io.Reader, skip, measure time.Duration) (flow, error) {
	buffer := make([]byte, chunkBytes)
	var from time.Time
	var bytes uint64
	for {
		n, err := stream.Read(buffer)
		if err != nil {
			return flow{}, err
		}
		if from.IsZero() {
			from = time.Now().Add(skip)
		}
		elapsed := time.Since(from)
		if elapsed > 0 {
			bytes += uint64(n)
		}
		if elapsed >= measure {
			return flow{bytes, elapsed.Seconds()}, nil
		}
	}
}

func give(stream io.Writer) {
	buffer := make([]byte, chunkBytes)
	for {
		if _, err := stream.Write(buffer); err != nil {
			return
		}
	}
}

// ---- the side that makes the load

func obey(tnet *netstack.Net, client net.Conn) {
	defer client.Close()
	lines := bufio.NewScanner(client)
	replies := json.NewEncoder(client)
	for lines.Scan() {
		var wanted order
		var result any
		err := json.Unmarshal(lines.Bytes(), &wanted)
		if err == nil {
			result, err = perform(tnet, wanted)
		}
		if err != nil {
			result = map[string]string{"error": err.Error()}
		}
		if replies.Encode(result) != nil {
			return
		}
	}
}

func perform(tnet *netstack.Net, wanted order) (any, error) {
	target, err := netip.ParseAddrPort(wanted.Target)
	if err != nil {
		return nil, err
	}
	if wanted.Kind == "ping" {
		return ping(tnet, target, wanted.Count)
	}
	type outcome struct {
		flow flow
		err  error
	}
	outcomes := make(chan outcome)
	for range wanted.Streams {
		go func() {
			f, err := transfer(tnet, target, wanted)
			outcomes <- outcome{f, err}
		}()
	}
	flows := make([]flow, 0, wanted.Streams)
	var failure error
	for range wanted.Streams {
		if o := <-outcomes; o.err != nil {
			failure = o.err
		} else {
			flows = append(flows, o.flow)
		}
	}
	return map[string][]flow{"flows": flows}, failure
}

func transfer(tnet *netstack.Net, target netip.AddrPort, wanted order) (flow, error) {
	skip := time.Duration(wanted.SkipMs) * time.Millisecond
	measure := time.Duration(wanted.MeasureMs) * time.Millisecond
	kind := byte(kindSend)
	if wanted.Kind == "receive" {
		kind = kindReceive
	}
	stream, err := open(tnet, target, kind, wanted)
	if err != nil {
		return flow{}, err
	}
	defer stream.Close()
	if kind == kindReceive {
		return take(stream, skip, measure)
	}
	go give(stream)
	reply := make([]byte, replyBytes)
	if _, err := io.ReadFull(stream, reply); err != nil {
		return flow{}, err
	}
	micros := binary.BigEndian.Uint64(reply[8:])
	return flow{binary.BigEndian.Uint64(reply), float64(micros) / 1e6}, nil
}

func open(tnet *netstack.Net, target netip.AddrPort, kind byte, wanted order) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	stream, err := tnet.DialContextTCPAddrPort(ctx, target)
	if err != nil {
		return nil, err
	}
	head := make([]byte, headBytes)
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], wanted.SkipMs)
	binary.BigEndian.PutUint32(head[5:], wanted.MeasureMs)
	_, err = stream.Write(head)
	return stream, err
}

func ping(tnet *netstack.Net, target netip.AddrPort, count int) (any, error) {
	stream, err := open(tnet, target, kindEcho, order{})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	times := make([]float64, 0, count)
	one := make([]byte, 1)
	for i := range count + pingWarmUp {
		from := time.Now()
		if _, err := stream.Write(one); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(stream, one); err != nil {
			return nil, err
		}
		if i >= pingWarmUp {
			times = append(times, float64(time.Since(from).Nanoseconds())/1e6)
		}
	}
	slices.Sort(times)
	at := func(share float64) float64 { return times[int(float64(len(times)-1)*share)] }
	return map[string]float64{"p50Ms": at(0.5), "p99Ms": at(0.99)}, nil
}

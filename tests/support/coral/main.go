// A Coral-style client: Connect for Go with dynamic messages, one call after the other.
//
// Reads calls from a file, one JSON array [method, message] a line, and writes one line for each:
// {"method":..., "message":...} or {"method":..., "code":..., "error":...}.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"

	"connectrpc.com/connect"
	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

const service = "coral.discovery.v1.DiscoveryService"

func main() {
	url := flag.String("url", "", "base URL")
	root := flag.String("root", ".", "folder that the schema is in")
	schema := flag.String("schema", "discovery.proto", "the schema")
	protocol := flag.String("protocol", "connect", "connect, grpc or grpcweb")
	codec := flag.String("codec", "json", "json or proto")
	authority := flag.String("authority", "", "PEM file of the server's certificate")
	calls := flag.String("calls", "", "file with the calls")
	flag.Parse()
	if err := run(*url, *root, *schema, *protocol, *codec, *authority, *calls); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url, root, schema, protocol, codec, authority, calls string) error {
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
	}
	files, err := compiler.Compile(context.Background(), schema)
	if err != nil {
		return err
	}
	descriptor := files[0].FindDescriptorByName(service)
	methods, ok := descriptor.(protoreflect.ServiceDescriptor)
	if !ok {
		return fmt.Errorf("%s has no %s", schema, service)
	}
	client, err := httpClient(authority)
	if err != nil {
		return err
	}
	var options []connect.ClientOption
	switch protocol {
	case "grpc":
		options = append(options, connect.WithGRPC())
	case "grpcweb":
		options = append(options, connect.WithGRPCWeb())
	}
	if codec == "json" {
		options = append(options, connect.WithProtoJSON())
	}
	input, err := os.Open(calls)
	if err != nil {
		return err
	}
	defer input.Close()
	lines := bufio.NewScanner(input)
	for lines.Scan() {
		var call [2]json.RawMessage
		if err := json.Unmarshal(lines.Bytes(), &call); err != nil {
			return err
		}
		var name string
		if err := json.Unmarshal(call[0], &name); err != nil {
			return err
		}
		method := methods.Methods().ByName(protoreflect.Name(name))
		if method == nil {
			return fmt.Errorf("no method %s", name)
		}
		if err := ask(client, url, method, call[1], options); err != nil {
			return err
		}
	}
	return lines.Err()
}

func httpClient(authority string) (*http.Client, error) {
	transport := &http.Transport{ForceAttemptHTTP2: true}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	if authority == "" {
		return &http.Client{Transport: transport}, nil
	}
	return &http.Client{Transport: overHTTP2{transport}}, nil
}

// Answers over anything but HTTP/2 are errors: with TLS nothing else is meant.
type overHTTP2 struct{ http.RoundTripper }

func (o overHTTP2) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := o.RoundTripper.RoundTrip(request)
	if err == nil && response.ProtoMajor != 2 {
		response.Body.Close()
		return nil, fmt.Errorf("the answer came over %s", response.Proto)
	}
	return response, err
}

type answer struct {
	Method  string          `json:"method"`
	Code    string          `json:"code,omitempty"`
	Error   string          `json:"error,omitempty"`
	Message json.RawMessage `json:"message,omitempty"`
}

func ask(
	client *http.Client,
	url string,
	method protoreflect.MethodDescriptor,
	message json.RawMessage,
	options []connect.ClientOption,
) error {
	request := dynamicpb.NewMessage(method.Input())
	if err := protojson.Unmarshal(message, request); err != nil {
		return err
	}
	options = append(options, connect.WithSchema(method), connect.WithResponseInitializer(
		func(spec connect.Spec, message any) error {
			if dynamic, ok := message.(*dynamicpb.Message); ok {
				*dynamic = *dynamicpb.NewMessage(spec.Schema.(protoreflect.MethodDescriptor).Output())
			}
			return nil
		},
	))
	path := fmt.Sprintf("%s/%s/%s", url, service, method.Name())
	rpc := connect.NewClient[dynamicpb.Message, dynamicpb.Message](client, path, options...)
	response, err := rpc.CallUnary(context.Background(), connect.NewRequest(request))
	said := answer{Method: string(method.Name())}
	if err != nil {
		said.Code = connect.CodeOf(err).String()
		said.Error = err.Error()
		var known *connect.Error
		if errors.As(err, &known) {
			said.Error = known.Message()
		}
	} else if said.Message, err = protojson.Marshal(response.Msg); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}

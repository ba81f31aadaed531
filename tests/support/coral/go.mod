module moray/tests/coral

go 1.24.0

require (
	connectrpc.com/connect v1.19.1
	github.com/bufbuild/protocompile v0.14.1
	google.golang.org/protobuf v1.36.9
)

require golang.org/x/sync v0.8.0 // indirect

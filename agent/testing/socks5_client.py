"""A SOCKS5 client of its own (RFC 1928, RFC 1929), of Python's standard library only: one datagram by UDP ASSOCIATE, and its answer.

socks5_client.py PROXY_PORT HOST PORT TEXT [USER PASSWORD]: prints where the answer came from and the answer.
"""

import ipaddress
import socket
import struct
import sys


def receive(conn, length):
    data = b""
    while len(data) < length:
        part = conn.recv(length - len(data))
        if not part:
            raise SystemExit("the proxy has closed the connection")
        data += part
    return data


def address(host, port):
    try:
        ip = ipaddress.ip_address(host)
        kind = b"\x01" if ip.version == 4 else b"\x04"
        return kind + ip.packed + struct.pack("!H", port)
    except ValueError:
        name = host.encode("ascii")
        return b"\x03" + bytes([len(name)]) + name + struct.pack("!H", port)


def parse(data):
    length = {1: 4, 4: 16}[data[0]]
    ip = ipaddress.ip_address(data[1 : 1 + length])
    (port,) = struct.unpack("!H", data[1 + length : 3 + length])
    return str(ip), port, data[3 + length :]


proxy, host, port, text, *user = sys.argv[1:]
conn = socket.create_connection(("127.0.0.1", int(proxy)), timeout=10)
conn.sendall(b"\x05\x01" + (b"\x02" if user else b"\x00"))
version, method = receive(conn, 2)
if method == 0xFF:
    raise SystemExit("no acceptable method")
if method == 2:
    name, password = (part.encode() for part in user)
    conn.sendall(b"\x01" + bytes([len(name)]) + name + bytes([len(password)]) + password)
    if receive(conn, 2) != b"\x01\x00":
        raise SystemExit("wrong user or password")
near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
near.bind(("127.0.0.1", 0))
near.settimeout(10)
conn.sendall(b"\x05\x03\x00" + address("127.0.0.1", near.getsockname()[1]))
reply = receive(conn, 4)
if reply[1] != 0:
    raise SystemExit(f"reply {reply[1]}")
rest = receive(conn, {1: 4, 4: 16}[reply[3]] + 2)
relay, relay_port, _ = parse(reply[3:] + rest)
near.sendto(b"\x00\x00\x00" + address(host, int(port)) + text.encode(), (relay, relay_port))
data, _ = near.recvfrom(65536)
assert data[:3] == b"\x00\x00\x00", data[:3]
source, source_port, payload = parse(data[3:])
print(source, source_port, payload.decode())

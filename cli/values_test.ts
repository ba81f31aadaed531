import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import {
  choice,
  DISCOVERY_URL,
  ENDPOINT,
  expose,
  FORWARD,
  FORWARD_ADDRESS,
  integer,
  INTERFACE,
  label,
  LISTEN,
  PORT,
  STUN_SERVER,
  TRUTH,
  type Value,
} from "./values.ts";

/** Text -> value; `undefined` for what must be refused. */
type Table = Readonly<Record<string, unknown>>;

function check(value: Value<unknown>, table: Table): void {
  for (const [input, expected] of Object.entries(table)) {
    assertEquals(value.parse(input), expected, JSON.stringify(input));
  }
}

Deno.test("a port is 0 to 65535 in digits", () => {
  check(PORT, {
    "0": 0,
    "51820": 51820,
    "65535": 65535,
    "65536": undefined,
    "-1": undefined,
    "1e3": undefined,
    " 1": undefined,
    "": undefined,
    "99999999999999999999": undefined,
  });
});

Deno.test("an interface's name is what the kernel takes", () => {
  check(INTERFACE, {
    "moray0": "moray0",
    "tun.7_a-b@c": "tun.7_a-b@c",
    ["x".repeat(15)]: "x".repeat(15),
    ["x".repeat(16)]: undefined,
    "": undefined,
    "a b": undefined,
    "a/b": undefined,
    "a:b": undefined,
    "tun%d": undefined,
    ".": undefined,
    "..": undefined,
    "--json": undefined,
    "tün": undefined,
  });
});

Deno.test("an integer keeps its bounds", () => {
  const value = integer("MS", { min: 10, max: 20, unit: "milliseconds", example: 15 });
  check(value, { "9": undefined, "10": 10, "20": 20, "21": undefined, "1.5": undefined });
  ok(value.expected.includes("10 to 20"));
});

Deno.test("a label is a DNS label in lower case", () => {
  check(label("NAME"), {
    "reef": "reef",
    "a": "a",
    "node-7": "node-7",
    "-a": undefined,
    "a-": undefined,
    "Reef": undefined,
    "a.b": undefined,
    "": undefined,
    ["a".repeat(63)]: "a".repeat(63),
    ["a".repeat(64)]: undefined,
  });
});

Deno.test("a listening address is a literal and a port; localhost is 127.0.0.1", () => {
  check(LISTEN, {
    "127.0.0.1:1080": { hostname: "127.0.0.1", port: 1080 },
    "localhost:0": { hostname: "127.0.0.1", port: 0 },
    "[::1]:1080": { hostname: "::1", port: 1080 },
    "0.0.0.0:8080": { hostname: "0.0.0.0", port: 8080 },
    "1080": undefined,
    ":1080": undefined,
    "example.com:80": undefined,
    "::1:1080": undefined,
    "127.0.0.1:99999": undefined,
  });
});

Deno.test("a public endpoint can be sent to", () => {
  check(ENDPOINT, {
    "203.0.113.7:51820": { hostname: "203.0.113.7", port: 51820 },
    "[2001:db8::1]:1": { hostname: "2001:db8::1", port: 1 },
    "203.0.113.7:0": undefined,
    "0.0.0.0:51820": undefined,
    "[::]:51820": undefined,
    "example.com:51820": undefined,
  });
});

Deno.test("a Discovery URL is http or https, without a slash at its end", () => {
  check(DISCOVERY_URL, {
    "http://127.0.0.1:8080": "http://127.0.0.1:8080",
    "https://d.example.com/": "https://d.example.com",
    "https://d.example.com/base/": "https://d.example.com/base",
    "d.example.com": undefined,
    "ftp://d.example.com": undefined,
    "https://user:secret@d.example.com": undefined,
    "https://d.example.com/?a=1": undefined,
    "": undefined,
  });
});

Deno.test("a STUN server has port 3478 unless told otherwise", () => {
  check(STUN_SERVER, {
    "stun.example.com": "stun.example.com:3478",
    "stun.example.com:19302": "stun.example.com:19302",
    "stun:stun.example.com:19302": "stun.example.com:19302",
    "192.0.2.1:3478": "192.0.2.1:3478",
    "[2001:db8::1]": "[2001:db8::1]:3478",
    "2001:db8::1": undefined,
    "stun.example.com:0": undefined,
    "stun.example.com:": undefined,
    "999.1.1.1:3478": undefined,
    "": undefined,
  });
});

Deno.test("a forward names a local address, a peer and its port", () => {
  const listen = { hostname: "127.0.0.1", port: 8080 };
  check(FORWARD, {
    "127.0.0.1:8080:colony:80": { listen, peer: "colony", port: 80 },
    "localhost:8080:colony:80": { listen, peer: "colony", port: 80 },
    "127.0.0.1:8080:web.reef.internal:443": { listen, peer: "web.reef.internal", port: 443 },
    "[::1]:0:[fd00::1]:80": { listen: { hostname: "::1", port: 0 }, peer: "fd00::1", port: 80 },
    "127.0.0.1:8080:10.42.0.1:80": { listen, peer: "10.42.0.1", port: 80 },
    "8080:colony:80": undefined,
    "127.0.0.1:8080:colony:0": undefined,
    "127.0.0.1:8080:colony": undefined,
    "127.0.0.1:8080::80": undefined,
    "127.0.0.1:8080:[colony]:80": undefined,
    "127.0.0.1:8080:colony:53/udp": { listen, peer: "colony", port: 53, protocol: "udp" },
    "127.0.0.1:8080:colony:80/tcp": { listen, peer: "colony", port: 80 },
    "127.0.0.1:8080:colony:80/sctp": undefined,
    "127.0.0.1:8080:colony:80/udp/udp": undefined,
    "unix:/run/web.sock:colony:80": { listen: { path: "/run/web.sock" }, peer: "colony", port: 80 },
    "unix:./a:b.sock:[fd00::1]:80": { listen: { path: "./a:b.sock" }, peer: "fd00::1", port: 80 },
    "unix:/run/web.sock:colony:80/udp": undefined,
    "unix:/run/web.sock:colony": undefined,
    "unix::colony:80": undefined,
    "unix:/run/a\0b:colony:80": undefined,
    [`unix:/${"x".repeat(102)}:colony:80`]: {
      listen: { path: `/${"x".repeat(102)}` },
      peer: "colony",
      port: 80,
    },
    [`unix:/${"x".repeat(103)}:colony:80`]: undefined,
  });
  check(FORWARD_ADDRESS, {
    "127.0.0.1:8080:10.0.0.1:80": { listen, peer: "10.0.0.1", port: 80 },
    "127.0.0.1:8080:colony:80": undefined,
  });
});

Deno.test("an exposed port names a mesh port and a local service", () => {
  check(expose("MESHPORT:HOST:PORT"), {
    "80:127.0.0.1:3000": { meshPort: 80, hostname: "127.0.0.1", port: 3000 },
    "80:localhost:3000": { meshPort: 80, hostname: "localhost", port: 3000 },
    "443:[::1]:8443": { meshPort: 443, hostname: "::1", port: 8443 },
    "0:127.0.0.1:3000": undefined,
    "80:127.0.0.1:0": undefined,
    "80:127.0.0.1": undefined,
    "80:1.2.3:3000": undefined,
    "http:127.0.0.1:80": undefined,
    "53:127.0.0.1:53/udp": { meshPort: 53, hostname: "127.0.0.1", port: 53, protocol: "udp" },
    "80:127.0.0.1:3000/tcp": { meshPort: 80, hostname: "127.0.0.1", port: 3000 },
    "53:127.0.0.1:53/": undefined,
    "2375:unix:/run/docker.sock": { meshPort: 2375, path: "/run/docker.sock" },
    "2375:unix:": undefined,
    "0:unix:/run/docker.sock": undefined,
    [`80:unix:/${"x".repeat(103)}`]: undefined,
  });
});

Deno.test("words and truths", () => {
  check(choice("LEVEL", ["debug", "info"]), {
    "debug": "debug",
    "Debug": undefined,
    "": undefined,
  });
  check(TRUTH, {
    "true": true,
    "1": true,
    "Yes": true,
    "off": false,
    "0": false,
    "maybe": undefined,
    "": undefined,
  });
});

import { deepStrictEqual as assertEquals, ok, throws } from "node:assert/strict";
import { formatBase64, formatCidr, MorayError } from "../core/mod.ts";
import { parseWireGuardConfig, PEERS_MAX, type WireGuardConfig } from "./wireguard_config.ts";

const KEY_A = formatBase64(new Uint8Array(32).fill(0xa5));
const KEY_B = formatBase64(new Uint8Array(32).fill(0xb6));
const KEY_C = formatBase64(new Uint8Array(32).fill(0xc7));

const FULL = `# a comment
[Interface]
PrivateKey = ${KEY_A} # the key
Address = 10.0.0.2/24, FD00::2/64
Address=10.9.9.9
ListenPort = 51820
MTU = 1280
DNS = 1.1.1.1
FwMark = 0x10
PostUp = iptables -A FORWARD -i %i

[Peer]
PublicKey = ${KEY_B}
PresharedKey = ${KEY_C}
AllowedIPs = 10.0.0.7/24,fd00::/64
AllowedIPs = 0.0.0.0/0
Endpoint = VPN.Example.com:51820
PersistentKeepalive = 25
[peer]
publickey=${KEY_C}
ALLOWEDIPS =
endpoint = [2001:DB8::1]:1
PERSISTENTKEEPALIVE = off
`;

const MINIMAL =
  `[Interface]\nPrivateKey = ${KEY_A}\nAddress = 10.0.0.2/24\n[Peer]\nPublicKey = ${KEY_B}\n`;

Deno.test("parseWireGuardConfig reads every key", () => {
  assertEquals(show(parse(FULL)), {
    privateKey: KEY_A,
    addresses: ["10.0.0.2/24", "fd00::2/64", "10.9.9.9/32"],
    listenPort: 51820,
    mtu: 1280,
    ignored: ["DNS:8", "FwMark:9", "PostUp:10"],
    peers: [
      {
        publicKey: KEY_B,
        presharedKey: KEY_C,
        allowedIps: ["10.0.0.0/24", "fd00::/64", "0.0.0.0/0"],
        endpoint: { host: "vpn.example.com", port: 51820 },
        persistentKeepalive: 25,
      },
      {
        publicKey: KEY_C,
        presharedKey: undefined,
        allowedIps: [],
        endpoint: { host: "2001:db8::1", port: 1 },
        persistentKeepalive: 0,
      },
    ],
  });
});

Deno.test("parseWireGuardConfig reads CRLF, a byte order mark and any case the same", () => {
  const plain = show(parse(FULL));
  assertEquals(show(parse(`\uFEFF${FULL.replaceAll("\n", "\r\n")}`)), plain);
  const shouted = FULL.replaceAll(/^[^=\n]+/gm, (name) => name.toUpperCase());
  assertEquals(show(parse(shouted)), plain);
});

Deno.test("parseWireGuardConfig fills in what may be absent", () => {
  const config = parse(MINIMAL);
  assertEquals([config.listenPort, "mtu" in config, config.ignored], [0, false, []]);
  assertEquals(config.peers.map(({ publicKey: _, ...rest }) => rest), [
    { allowedIps: [], persistentKeepalive: 0 },
  ]);
});

Deno.test("parseWireGuardConfig names file, line and fault, and never a value", () => {
  const noPeer = MINIMAL.split("[Peer]")[0] ?? "";
  const secret = KEY_A.slice(0, 43);
  const cases: readonly (readonly [text: string, message: string])[] = [
    ["", "x.conf:1: no [Interface] section"],
    ["Address = 1.2.3.4", "x.conf:1: a key before the first section"],
    ["\n[Interfaces]", "x.conf:2: not [Interface] and not [Peer]"],
    [`[${KEY_A}]`, "x.conf:1: not [Interface] and not [Peer]"],
    [`[Interface]\n${secret}`, "x.conf:2: not a [Section] and not a Key = Value"],
    [`[Interface]\n${KEY_A}`, "x.conf:2: unknown key in [Interface]"],
    ["[Interface]\nPrivatKey = x", "x.conf:2: unknown key PrivatKey in [Interface]"],
    ["[Interface]\nconstructor = x", "x.conf:2: unknown key constructor in [Interface]"],
    [`[Interface]\nPrivateKey = ${secret}`, "x.conf:2: PrivateKey is not 32 bytes of base64"],
    [`[Interface]\nPrivateKey =`, "x.conf:2: PrivateKey is not 32 bytes of base64"],
    [
      `[Interface]\nPrivateKey = ${KEY_A}\nprivatekey = ${KEY_B}`,
      "x.conf:3: a second PrivateKey; the first is in line 2",
    ],
    ["[Interface]\nAddress = 1.2.3.4", "x.conf:1: [Interface] has no PrivateKey"],
    [`[Interface]\nPrivateKey = ${KEY_A}`, "x.conf:1: [Interface] has no Address"],
    [
      `[Interface]\nAddress = 1.2.3.4/33`,
      "x.conf:2: Address is not a list of IP addresses with prefix lengths",
    ],
    [
      `[Interface]\nAddress = ${secret}`,
      "x.conf:2: Address is not a list of IP addresses with prefix lengths",
    ],
    [
      `[Interface]\nAddress = 1.2.3.4,`,
      "x.conf:2: Address is not a list of IP addresses with prefix lengths",
    ],
    [`[Interface]\nListenPort = 65536`, "x.conf:2: ListenPort is not a port from 0 to 65535"],
    [`[Interface]\nListenPort = -1`, "x.conf:2: ListenPort is not a port from 0 to 65535"],
    [`[Interface]\nMTU = 575`, "x.conf:2: MTU is not a number from 576 to 65535"],
    [noPeer, "x.conf:4: no [Peer] section"],
    [`${noPeer}[Interface]`, "x.conf:4: a second [Interface]; the first is in line 1"],
    [`${noPeer}[Peer]`, "x.conf:4: [Peer] has no PublicKey"],
    [`${MINIMAL}AllowedIPs = 10.0.0.0/8 fd00::/8`, at6("AllowedIPs", "a list of IP addresses")],
    [`${MINIMAL}AllowedIPs = vpn`, at6("AllowedIPs", "a list of IP addresses")],
    [`${MINIMAL}DNS = 1.1.1.1`, "x.conf:6: unknown key DNS in [Peer]"],
    [
      `${MINIMAL}PersistentKeepalive = on`,
      "x.conf:6: PersistentKeepalive is not off or a number of seconds from 0 to 65535",
    ],
    [
      `${MINIMAL}\n[Peer]\nPublicKey = ${KEY_B}`,
      "x.conf:7: the same PublicKey as the [Peer] of line 4",
    ],
    [`${MINIMAL}PresharedKey = (none)`, "x.conf:6: PresharedKey is not 32 bytes of base64"],
  ];
  for (const [text, message] of cases) {
    throws(() => parse(text), (error) => {
      ok(error instanceof MorayError);
      assertEquals(
        [error.code, error.message.startsWith(message)],
        ["config", true],
        error.message,
      );
      ok(!error.message.includes(secret.slice(0, 8)), error.message);
      return true;
    }, message);
  }
});

Deno.test("parseWireGuardConfig takes endpoints that have a host and a port", () => {
  const good: [string, string, number][] = [
    ["192.0.2.1:51820", "192.0.2.1", 51820],
    ["[::ffff:192.0.2.1]:1", "192.0.2.1", 1],
    ["a-b_c.example.:65535", "a-b_c.example.", 65535],
    ["localhost:1", "localhost", 1],
  ];
  for (const [text, host, port] of good) {
    assertEquals(parse(`${MINIMAL}Endpoint = ${text}`).peers[0]?.endpoint, { host, port });
  }
  const bad = ["host", "host:0", "host:65536", "host:http", ":1", "2001:db8::1:1", "[host]:1"];
  bad.push("[::1]", "::1", "1.2.3.256:1", "1.2:1", "-a:1", "a..b:1", "a b:1", "[fe80::1%eth0]:1");
  for (const text of bad) {
    throws(() => parse(`${MINIMAL}Endpoint = ${text}`), {
      message: "x.conf:6: Endpoint is not host:port or [IPv6]:port",
    }, text);
  }
});

Deno.test("parseWireGuardConfig is bounded", () => {
  throws(() => parse("#".repeat((1 << 20) + 1)), { code: "config" });
  throws(() => parse(`[Interface]\n${"[Peer]\n".repeat(PEERS_MAX + 1)}`), {
    message: `x.conf:${PEERS_MAX + 2}: more than ${PEERS_MAX} peers`,
  });
  throws(() => parse(`[Interface]\nAddress = ${Array(65).fill("1.2.3.4").join()}`), {
    code: "config",
  });
});

Deno.test("10,000 mutated files throw config errors of one line without a key, or nothing", () => {
  let state = 1;
  const random = (below: number): number => {
    state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0;
    return (state >>> 8) % below;
  };
  const pieces = ["[", "]", "=", "#", "\r", "\n", ",", "/", ":", "\0", "é", "[Peer]\n", "Address="];
  let accepted = 0;
  for (let i = 0; i < 10_000; i++) {
    let text = i % 10 === 0 ? "" : FULL;
    for (let n = 1 + random(4); n > 0; n--) {
      const at = random(text.length + 1);
      const piece = pieces[random(pieces.length)] ?? String.fromCharCode(random(65_536));
      text = text.slice(0, at) + piece + text.slice(at + random(3));
    }
    try {
      parse(text);
      accepted++;
    } catch (error) {
      ok(error instanceof MorayError && error.code === "config", `${error} on ${text}`);
      ok(/^x\.conf:\d+: [^\n]+$/.test(error.message), error.message);
      ok(!/paWl|tra2|x8fH/.test(error.message), error.message);
    }
  }
  ok(accepted > 100 && accepted < 9000, `${accepted} accepted`);
});

function parse(text: string): WireGuardConfig {
  return parseWireGuardConfig(text, { file: "x.conf" });
}

function at6(key: string, expected: string): string {
  return `x.conf:6: ${key} is not ${expected}`;
}

function show(config: WireGuardConfig): unknown {
  return {
    privateKey: formatBase64(config.privateKey),
    addresses: config.addresses.map(({ address, prefix }) => `${address}/${prefix}`),
    listenPort: config.listenPort,
    mtu: config.mtu,
    ignored: config.ignored.map(({ key, line }) => `${key}:${line}`),
    peers: config.peers.map((peer) => ({
      publicKey: formatBase64(peer.publicKey),
      presharedKey: peer.presharedKey && formatBase64(peer.presharedKey),
      allowedIps: peer.allowedIps.map(formatCidr),
      endpoint: peer.endpoint,
      persistentKeepalive: peer.persistentKeepalive,
    })),
  };
}

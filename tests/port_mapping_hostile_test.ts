/** Gateways that mean no good, on real sockets: the mapper's time, memory and talk stay bounded, and it goes nowhere else. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { HTTP_BYTES_MAX, HTTP_MS_MAX } from "../agent/gateway_http.ts";
import { PortMapper } from "../agent/port_mapper.ts";
import type { PortMappingStatus } from "../agent/status.ts";
import type { Instant, SocketAddress } from "../core/mod.ts";
import { encodeNatPmpMap } from "../traversal/port_mapping/nat_pmp.ts";
import { type GatewayManners, TestGateway } from "../traversal/port_mapping/testing/gateway.ts";
import { e2e, eventually, type Scope } from "./support/scope.ts";

const LOCAL = "127.0.0.1";
const PORT = 51820;

interface Mapper {
  readonly mapper: PortMapper;
  readonly lines: string[];
  readonly offers: string[][];
  readonly status: () => PortMappingStatus;
}

/** Starts a mapper towards one gateway on loopback. */
function startMapper(scope: Scope, address: string): Mapper {
  const lines: string[] = [];
  const offers: string[][] = [];
  const mapper = new PortMapper({
    port: PORT,
    log: (level, message, fields) => lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
    onOffer: (addresses) =>
      offers.push(addresses.map(({ hostname, port }) => `${hostname}:${port}`)),
    gateways: () => [{ family: 4, address, interfaceName: "lo", local: LOCAL }],
  });
  scope.defer(() => mapper.stop(1000));
  scope.explain(() => Promise.resolve(lines.join("\n")));
  const status = (): PortMappingStatus => {
    const [only] = mapper.status;
    assert(only !== undefined);
    return only;
  };
  return { mapper, lines, offers, status };
}

/** Answers every datagram to a port with what `answers` makes of it. */
function serveUdp(
  scope: Scope,
  { hostname, port }: SocketAddress,
  answers: (request: Uint8Array) => Iterable<Uint8Array>,
): { received: number } {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port });
  const counts = { received: 0 };
  const running = (async () => {
    for await (const [request, from] of socket) {
      counts.received++;
      for (const answer of answers(request)) await socket.send(answer, from).catch(() => {});
    }
  })();
  scope.defer(async () => {
    socket.close();
    await running;
  });
  return counts;
}

/** A gateway on loopback that speaks PCP and NAT-PMP. */
function serveGateway(
  scope: Scope,
  hostname: string,
  manners: Partial<GatewayManners>,
): TestGateway {
  const now = (): Instant => performance.now() as Instant;
  const gateway = new TestGateway(now(), manners);
  serveUdp(scope, { hostname, port: 5351 }, (request) => {
    const answer = gateway.answer(now(), request);
    return answer === undefined ? [] : [answer];
  });
  return gateway;
}

e2e(
  "a mapping with a private address is offered only once a STUN server has seen it",
  { needs: ["full"], timeoutMs: 30_000 },
  async (scope) => {
    const hostname = "127.0.0.77";
    const gateway = serveGateway(scope, hostname, { address: Uint8Array.of(100, 64, 1, 2) });
    const { mapper, offers, status } = startMapper(scope, hostname);
    await eventually("the mapping", () => status().protocol ?? undefined);
    assertEquals(status().external, `100.64.1.2:${PORT}`);
    assertEquals(status().offered, false);
    assertEquals(
      status().reason,
      "the gateway's own address 100.64.1.2 is private: another NAT is in front of it",
    );
    mapper.setCandidates([{ kind: "serverReflexive", address: "203.0.113.9:40000" }]);
    assertEquals([status().offered, offers], [false, []]);
    mapper.setCandidates([{ kind: "serverReflexive", address: "100.64.1.2:40000" }]);
    await eventually("the offer", () => offers[0]);
    assertEquals([status().offered, offers], [true, [[`100.64.1.2:${PORT}`]]]);
    await mapper.stop(1000);
    assertEquals([...gateway.mappings], []);
  },
);

e2e(
  "a gateway that changes its address without end makes one offer every two seconds",
  { needs: ["full"], timeoutMs: 30_000 },
  async (scope) => {
    const hostname = "127.0.0.78";
    const refusal = Uint8Array.of(0, 0x81, 0, 1);
    const map = encodeNatPmpMap({ internalPort: PORT, suggestedPort: PORT, lifetime: 0 });
    let last = 0;
    const counts = serveUdp(
      scope,
      { hostname, port: 5351 },
      function* (request): Generator<Uint8Array, void> {
        if (request[0] !== 0) return void (yield refusal);
        const mapped = [0, 129, 0, 0, 0, 0, 0, 9, ...map.subarray(4, 8), 0, 0, 28, 32];
        yield Uint8Array.from(mapped);
        for (let i = 0; i < 3000; i++) {
          yield Uint8Array.of(0, 128, 0, 0, 0, 0, 0, 9, 198, 51, 100, last++ & 0xff);
        }
      },
    );
    const { mapper, lines, offers } = startMapper(scope, hostname);
    await eventually("the first offer", () => offers[0]);
    await new Promise((resolve) => setTimeout(resolve, 4000));
    assert(offers.length >= 1 && offers.length <= 4, `${offers.length} offers in 4 s`);
    assert(counts.received < 20, `${counts.received} requests`);
    assert(lines.length <= offers.length + 2, lines.join("\n"));
    const before = performance.now();
    await mapper.stop(800);
    assert(performance.now() - before < 1500, "stops in time");
  },
);

/** Accepts connections and does `take` with each, until the scope ends; every one is closed, and waited for. */
function serveTcp(
  scope: Scope,
  address: SocketAddress,
  take: (connection: Deno.Conn) => Promise<void>,
): { readonly port: number; connections: number } {
  const listener = Deno.listen(address);
  const server = { port: (listener.addr as Deno.NetAddr).port, connections: 0 };
  const running: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      server.connections++;
      running.push(
        take(connection).catch(() => {}).finally(() => {
          try {
            connection.close();
          } catch {
            // Closed from the other side, and then by the runtime.
          }
        }),
      );
    }
  })();
  scope.defer(async () => {
    listener.close();
    await accepting;
    await Promise.all(running);
  });
  return server;
}

/** What a hostile HTTP server does with a connection. `sent` counts what it got rid of. */
type Manner = (connection: Deno.Conn, sent: { bytes: number }) => Promise<void>;

const NOTE = new TextEncoder();

function page(body: string, head = "HTTP/1.1 200 OK"): Uint8Array<ArrayBuffer> {
  return NOTE.encode(`${head}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
}

function describedAt(controlUrl: string): string {
  return "<root><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>" +
    `<controlURL>${controlUrl}</controlURL></service></root>`;
}

const DECOY = { hostname: "127.0.0.99", port: 18_080 };
const DECOY_URL = `http://${DECOY.hostname}:${DECOY.port}/`;

const always = (bytes: Uint8Array): Manner => async (connection, sent) => {
  sent.bytes += await connection.write(bytes);
};

const MANNERS: Readonly<Record<string, Manner>> = {
  "says nothing": async (connection) => {
    const buffer = new Uint8Array(4096);
    while (await connection.read(buffer) !== null);
  },
  "sends a body without end": async (connection, sent) => {
    await connection.write(NOTE.encode("HTTP/1.1 200 OK\r\n\r\n"));
    const part = new Uint8Array(16_384).fill(0x3c);
    for (let i = 0; i < 4096; i++) sent.bytes += await connection.write(part);
  },
  "drips": async (connection, sent) => {
    await connection.write(NOTE.encode("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"));
    for (let i = 0; i < 60_000; i++) {
      sent.bytes += await connection.write(NOTE.encode("<"));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  },
  "sends headers without end": async (connection, sent) => {
    await connection.write(NOTE.encode("HTTP/1.1 200 OK\r\n"));
    const line = NOTE.encode(`X-A: ${"b".repeat(8000)}\r\n`);
    for (let i = 0; i < 8192; i++) sent.bytes += await connection.write(line);
  },
  "redirects elsewhere": always(page("", `HTTP/1.1 302 Found\r\nLocation: ${DECOY_URL}`)),
  "names a control URL elsewhere": always(page(describedAt(DECOY_URL))),
  "sends an XML bomb": always(page(
    `<!DOCTYPE a [<!ENTITY b "${"c".repeat(1000)}"><!ENTITY d "${"&b;".repeat(1000)}">]><a>&d;</a>`,
  )),
  "speaks no HTTP": always(NOTE.encode("SSH-2.0-OpenSSH_9.2\r\n")),
};

for (const [i, [title, manner]] of Object.entries(MANNERS).entries()) {
  e2e(
    `a UPnP gateway that ${title} costs a few seconds and one line of the log, and leads nowhere`,
    { needs: ["full"], timeoutMs: 30_000 },
    async (scope) => {
      const hostname = `127.0.0.${80 + i}`;
      serveGateway(scope, hostname, { speaks: "nat-pmp", result: 2 });
      const sent = { bytes: 0 };
      const server = serveTcp(scope, { hostname, port: 0 }, (one) => manner(one, sent));
      const decoy = serveTcp(scope, DECOY, () => Promise.resolve());
      const location = `http://${hostname}:${server.port}/d.xml`;
      serveUdp(scope, { hostname, port: 1900 }, (request) => {
        const target = /^ST: .*$/m.exec(new TextDecoder().decode(request))?.[0] ?? "";
        return [NOTE.encode(`HTTP/1.1 200 OK\r\n${target}\r\nLOCATION: ${location}\r\n\r\n`)];
      });
      const startedAt = performance.now();
      const { mapper, lines, offers, status } = startMapper(scope, hostname);
      await eventually("the verdict", () => /UPnP: /.exec(status().reason ?? "")?.[0]);
      const tookMs = performance.now() - startedAt;
      assert(tookMs < HTTP_MS_MAX + 2500, `${Math.round(tookMs)} ms`);
      assertEquals([server.connections, decoy.connections, offers], [1, 0, []]);
      // What the kernel takes in advance is not ours to bound.
      assert(sent.bytes < HTTP_BYTES_MAX + 8 * 1024 * 1024, `${sent.bytes} bytes were taken`);
      assertEquals(lines.length, 1, lines.join("\n"));
      assert(lines[0]?.startsWith("debug no port mapping: "), lines[0]);
      const before = performance.now();
      await mapper.stop(800);
      assert(performance.now() - before < 1000, "stops in time");
    },
  );
}

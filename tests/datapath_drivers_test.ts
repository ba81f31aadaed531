/** One contract for both drivers of the datapath, on real sockets and in real Workers. */
import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { cp } from "node:fs/promises";
import { startDatapath } from "../agent/datapath/start.ts";
import { FastDriver } from "../agent/datapath/fast_driver.ts";
import type { PathError } from "../agent/datapath/error_queue.ts";
import { PortableDriver } from "../agent/datapath/portable_driver.ts";
import { LOCALS_MAX } from "../agent/datapath/transport.ts";
import { TunnelNetwork } from "../agent/tunnel_network.ts";
import { EventFd } from "../io/mod.ts";
import { formatBase64, MorayError, type SocketAddress } from "../core/mod.ts";
import { AEAD_DIGEST } from "../wg/mod.ts";
import { nativeReason } from "./support/native_cipher.ts";
import { say } from "./support/say.ts";
import { eventually } from "./support/scope.ts";

/** What a driver took in. */
interface Arrival {
  readonly source: SocketAddress;
  readonly local: number;
  readonly bytes: Uint8Array;
}

/** A driver under test. */
interface Subject extends Disposable {
  readonly driver: FastDriver | PortableDriver;
  readonly arrivals: Arrival[];
  /** Runs the driver until `done`, at most 5 s. */
  until(done: () => boolean): Promise<void>;
}

const DEADLINE_MS = 5000;

function openFast(
  port?: number,
  onPathError: (error: PathError) => void = () => {},
): Subject & { readonly driver: FastDriver } {
  const arrivals: Arrival[] = [];
  const bell = new EventFd();
  const driver = ((): FastDriver => {
    try {
      return FastDriver.open({
        port: port ?? 0,
        eventFd: bell.fd,
        onDatagrams,
        onPathError,
      });
    } catch (error) {
      bell[Symbol.dispose]();
      throw error;
    }
  })();
  function onDatagrams(
    source: SocketAddress,
    bytes: Uint8Array,
    segment: number,
    local: number,
  ): void {
    for (let at = 0; at < bytes.length; at += segment) {
      arrivals.push({ source, local, bytes: bytes.slice(at, at + segment) });
    }
  }
  return {
    driver,
    arrivals,
    until: async (done) => {
      const end = performance.now() + DEADLINE_MS;
      while (!done() && performance.now() < end) {
        driver.wait(5);
        while (driver.receive());
        // The other end may live in this event loop.
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    },
    [Symbol.dispose]: () => {
      driver.close();
      bell[Symbol.dispose]();
    },
  };
}

/** Receives into memory that moves with each batch, as an engine's may. */
function openFastInto(port = 0): Subject & { readonly driver: FastDriver } {
  const subject = openFast(port);
  const memories = [new Uint8Array(1 << 20), new Uint8Array(2 << 20).subarray(5, 5 + (1 << 20))];
  let batches = 0;
  subject.driver.receiveInto(
    () => memories[batches % 2] as Uint8Array<ArrayBuffer>,
    () => {
      // What was handed over has been taken in by now.
      memories[batches++ % 2]?.fill(0xee);
    },
  );
  return subject;
}

function openPortable(port = 0): Subject {
  const arrivals: Arrival[] = [];
  const driver = PortableDriver.open({
    port,
    onDatagram: (source, payload, local) =>
      void arrivals.push({ source, local, bytes: payload.slice() }),
    onIdle: () => {},
  });
  return {
    driver,
    arrivals,
    until: async (done) => {
      const end = performance.now() + DEADLINE_MS;
      while (!done() && performance.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
    [Symbol.dispose]: () => driver.close(),
  };
}

const unsupported = ((): string | undefined => {
  try {
    openFast()[Symbol.dispose]();
    return undefined;
  } catch (error) {
    if (error instanceof MorayError && error.code === "unsupported") return error.message;
    throw error;
  }
})();
const kinds: readonly (readonly [string, (port?: number) => Subject])[] = [
  ["portable", openPortable],
  ...(unsupported === undefined
    ? [["fast", openFast] as const, ["fast in place", openFastInto] as const]
    : []),
];
if (unsupported !== undefined) say(`skipped: the fast driver: ${unsupported}`);

/** Where Debian has glibc, and where this system has it. */
const LIBC = `/lib/${Deno.build.arch}-linux-gnu/libc.so.6`;
const libc = [LIBC, "/lib64/libc.so.6", "/usr/lib/libc.so.6"].find((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
});

/** Whether the engine's cipher is native here. */
const noNative = await nativeReason();
const native = noNative === undefined;
if (noNative !== undefined) say(`skipped: the native cipher: ${noNative}`);
if (libc === undefined) {
  say("skipped: the fast driver needs the permission for libc alone: no glibc at a known path");
}

/** Bytes that tell their place. */
function pattern(length: number, seed: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 7) & 0xff);
}

for (const [from, openFrom] of kinds) {
  for (const [to, openTo] of kinds) {
    for (const hostname of ["127.0.0.1", "::1"]) {
      Deno.test(`${from} to ${to} over ${hostname}: datagrams and trains arrive as they were sent`, async () => {
        using a = openFrom();
        using b = openTo();
        const target = { hostname, port: b.driver.port };
        const sent: Uint8Array[] = [];
        for (const [seed, length] of [1, 32, 148, 1452, 9000, 65_000].entries()) {
          const bytes = pattern(length, seed);
          sent.push(bytes);
          a.driver.send(bytes, length, target);
        }
        for (
          const [seed, [segment, count, rest]] of [[1200, 40, 7], [64, 10, 64], [1452, 2, 1]]
            .entries()
        ) {
          if (segment === undefined || count === undefined || rest === undefined) continue;
          const train = pattern(segment * count + rest, seed);
          for (let at = 0; at < train.length; at += segment) {
            sent.push(train.slice(at, at + segment));
          }
          a.driver.send(train, segment, target);
        }
        await b.until(() => b.arrivals.length >= sent.length);
        // UDP over loopback keeps the order of one socket, but the portable driver sends many at once.
        const key = (bytes: Uint8Array): string => `${bytes.length}:${bytes.subarray(0, 8).join()}`;
        const byKey = (x: Uint8Array, y: Uint8Array): number => key(x) < key(y) ? -1 : 1;
        assertEquals(
          b.arrivals.map(({ bytes }) => bytes).sort(byKey),
          sent.sort(byKey),
        );
        for (const { source } of b.arrivals) {
          assertEquals(source, { hostname, port: a.driver.port });
        }
        assertEquals(a.driver.counters(), {});
      });
    }
  }
}

for (const [kind, open] of kinds) {
  Deno.test(`${kind}: a busy port is named`, () => {
    using first = open();
    const { port } = first.driver;
    try {
      open(port)[Symbol.dispose]();
      assert(false, "the port can be had twice");
    } catch (error) {
      assert(error instanceof MorayError, String(error));
      assertEquals(error.code, "portInUse");
      assert(
        error.message.startsWith(`Cannot bind UDP port ${port}: address is in use`),
        error.message,
      );
    }
  });

  Deno.test(`${kind}: a destination that cannot be reached is counted and harms nothing`, async () => {
    using a = open();
    using b = open();
    a.driver.send(pattern(100, 1), 100, { hostname: "127.0.0.1", port: 0 });
    a.driver.send(pattern(300, 1), 100, { hostname: "127.0.0.1", port: 0 });
    a.driver.send(pattern(10, 2), 10, { hostname: "127.0.0.1", port: b.driver.port });
    await b.until(() => b.arrivals.length > 0);
    await a.until(() => Object.keys(a.driver.counters()).length > 0);
    assertEquals(b.arrivals.length, 1);
    assert(Object.keys(a.driver.counters()).some((name) => name.startsWith("sendFailed")));
  });
}

for (const [kind, open] of kinds) {
  for (const hostname of ["127.0.0.1", "::1"]) {
    Deno.test(`${kind}: an extra local end over ${hostname} has its own port both ways, and ends`, async () => {
      using a = open();
      using b = open();
      const target = { hostname, port: b.driver.port };
      const [first, second] = [a.driver.openLocal(), a.driver.openLocal()];
      assert(first !== undefined && second !== undefined && first !== second && first > 0);
      const train = pattern(3000, 3);
      a.driver.send(pattern(100, 1), 100, target, first);
      a.driver.send(pattern(101, 2), 101, target, second, true);
      a.driver.send(train, 1200, target, second);
      a.driver.send(pattern(102, 4), 102, target);
      await b.until(() => b.arrivals.length >= 6);
      const sourceOf = (length: number): SocketAddress => {
        const arrival = b.arrivals.find(({ bytes }) => bytes.length === length);
        assert(arrival !== undefined, `${length} bytes arrived`);
        return arrival.source;
      };
      const ends = [sourceOf(102), sourceOf(100), sourceOf(101)];
      assertEquals(new Set(ends.map(({ port }) => port)).size, 3);
      assertEquals(ends[0], { hostname, port: a.driver.port });
      const ports = [0, first, second].map((local) => a.driver.localPort(local));
      assertEquals(ends.map(({ port }) => port), ports);
      assertEquals(sourceOf(600), ends[2], "a train leaves from its end");
      assertEquals(b.arrivals.every(({ local }) => local === 0), true);

      for (const [i, end] of ends.entries()) b.driver.send(train.slice(i), 1200, end);
      await a.until(() => a.arrivals.length >= 9);
      const got = a.arrivals.map(({ local, bytes }) => `${local} ${bytes.length}`).sort();
      const sent = [0, first, second].flatMap((local, i) => [
        ...[`${local} 1200`, `${local} 1200`, `${local} ${600 - i}`],
      ]);
      assertEquals(got, sent.sort());
      assertEquals(a.arrivals[0]?.source, target);

      a.driver.closeLocal(first);
      a.driver.closeLocal(first);
      a.driver.send(pattern(10, 1), 10, target, first);
      assertEquals(a.driver.counters(), { "sendFailed:local": 1 });
      assertEquals(a.driver.localPort(first), undefined);
      for (const end of ends) b.driver.send(pattern(50, 1), 50, end);
      await a.until(() => a.arrivals.length >= 11);
      // What came to the end that was closed would have come before this.
      b.driver.send(pattern(51, 1), 51, ends[0] ?? target);
      await a.until(() => a.arrivals.some(({ bytes }) => bytes.length === 51));
      assertEquals(a.arrivals.slice(9).map(({ local }) => local).sort(), [0, 0, second].sort());
    });
  }

  Deno.test(`${kind}: ${LOCALS_MAX} extra local ends and no more, whose numbers are not used again at once`, async () => {
    using a = open();
    using b = open();
    const target = { hostname: "127.0.0.1", port: b.driver.port };
    const locals = Array.from({ length: LOCALS_MAX }, () => a.driver.openLocal());
    assertEquals(new Set(locals).size, LOCALS_MAX);
    assertEquals(locals.includes(undefined) || locals.includes(0), false);
    assertEquals([a.driver.openLocal(), a.driver.openLocal()], [undefined, undefined]);
    assertEquals(a.driver.counters(), { localsRefused: 2 });
    for (const [i, local] of locals.entries()) {
      a.driver.send(pattern(20, i), 20, target, local);
      // A socket's buffer of the usual size holds 256 datagrams.
      if (i === 128) await b.until(() => b.arrivals.length > i);
    }
    await b.until(() => b.arrivals.length >= LOCALS_MAX);
    assertEquals(new Set(b.arrivals.map(({ source }) => source.port)).size, LOCALS_MAX);
    for (const { source } of b.arrivals) b.driver.send(pattern(20, 1), 20, source);
    await a.until(() => a.arrivals.length >= LOCALS_MAX);
    assertEquals(new Set(a.arrivals.map(({ local }) => local)), new Set(locals));
    const [oldest = 0] = locals;
    a.driver.closeLocal(oldest);
    const next = a.driver.openLocal();
    assert(next !== undefined && next !== oldest && !locals.includes(next));
  });
}

for (
  const kind of unsupported === undefined ? ["portable", "fast"] as const : ["portable"] as const
) {
  Deno.test(`${kind}: two datapaths carry 8 MiB each way and stop at once`, async () => {
    const node = async (i: number): Promise<Awaited<ReturnType<typeof startDatapath>>> => {
      const datapath = await startDatapath({
        privateKey: new Uint8Array(32).fill(i + 40),
        port: 0,
        mtu: 1420,
        driver: kind,
        onEvent: () => {},
      });
      await datapath.client.send({ kind: "setAddresses", addresses: [`10.42.0.${i}/32`] });
      return datapath;
    };
    const [a, b] = await Promise.all([node(1), node(2)]);
    const port = /\d+$/.exec(b.local)?.[0];
    await a.client.send({
      kind: "addPeer",
      publicKey: formatBase64(b.publicKey),
      allowedIps: ["10.42.0.2/32"],
      keepaliveSeconds: 0,
      endpoint: `127.0.0.1:${port}`,
      mesh: false,
    });
    await b.client.send({
      kind: "addPeer",
      publicKey: formatBase64(a.publicKey),
      allowedIps: ["10.42.0.1/32"],
      keepaliveSeconds: 0,
      mesh: false,
    });
    const network = new TunnelNetwork({ client: a.client, resolve: (name) => name });
    const other = new TunnelNetwork({ client: b.client, resolve: (name) => name });
    const listener = other.listen(7);
    const echo = (async (): Promise<void> => {
      const conn = await listener.accept();
      const buffer = new Uint8Array(65_536);
      for (let n; (n = await conn.read(buffer)) !== null;) {
        for (let at = 0; at < n;) at += await conn.write(buffer.subarray(at, n));
      }
      await conn.closeWrite();
      conn.close();
    })();
    const conn = await network.connect({ hostname: "10.42.0.2", port: 7 });
    const data = pattern(8 << 20, 3);
    const got = new Uint8Array(data.length);
    const [, total] = await Promise.all([
      (async (): Promise<void> => {
        for (let at = 0; at < data.length;) at += await conn.write(data.subarray(at, at + 65_536));
        await conn.closeWrite();
      })(),
      (async (): Promise<number> => {
        let at = 0;
        for (let n; at < got.length && (n = await conn.read(got.subarray(at))) !== null;) at += n;
        return at + (await conn.read(new Uint8Array(1)) ?? 0);
      })(),
    ]);
    conn.close();
    await echo;
    assertEquals(total, data.length);
    assertEquals(await digest(got), await digest(data));
    const { driver } = await a.client.send({ kind: "status" });
    assertEquals(driver, kind);
    const startedAt = performance.now();
    await Promise.all([a.stop(2000), b.stop(2000)]);
    assert(performance.now() - startedAt < 1000, "both stop within a second");
  });

  Deno.test(`${kind}: a datapath that fails to start leaves the port free`, async () => {
    const { port } = ((): { port: number } => {
      using free = openPortable();
      return { port: free.driver.port };
    })();
    const options = { port, mtu: 1420, driver: kind, onEvent: () => {} };
    const fail = async (): Promise<void> => {
      // The socket is open by the time that the engine refuses.
      const short = startDatapath({ ...options, privateKey: new Uint8Array(31) });
      await rejects(short, /a private key has 32 bytes/);
    };
    // The first Worker of a process also opens what Deno keeps for the next.
    await fail();
    const descriptors = countDescriptors();
    await fail();
    // Its thread's own are closed some time after `terminate`.
    await eventually(
      "the descriptors to be closed",
      () => countDescriptors() <= descriptors || undefined,
    );
    const datapath = await startDatapath({ ...options, privateKey: new Uint8Array(32).fill(1) });
    assert(datapath.local.endsWith(`:${port}`), datapath.local);
    await datapath.stop(2000);
  });
}

/** Files and sockets that this process holds; 0 where the system does not say. */
function countDescriptors(): number {
  try {
    return [...Deno.readDirSync("/proc/self/fd")].length;
  } catch {
    return 0;
  }
}

for (const hostname of ["127.0.0.1", "::1"]) {
  Deno.test({
    name: `fast: a closed port on ${hostname} is told of, and costs no datagram to others`,
    ignore: unsupported !== undefined,
    fn: async () => {
      const errors: PathError[] = [];
      using a = openFast(0, (error) => void errors.push(error));
      using b = openFast();
      const closed = ((): SocketAddress => {
        using gone = openFast();
        return { hostname, port: gone.driver.port };
      })();
      const target = { hostname, port: b.driver.port };
      const rounds = 50;
      for (let i = 0; i < rounds; i++) {
        a.driver.send(pattern(100, i), 100, closed);
        // The kernel answers the next call with the error, whatever that call is for.
        a.driver.send(pattern(3000, i), 1000, target);
        a.driver.send(pattern(100, i), 100, closed);
        a.driver.send(pattern(100, i), 100, target);
      }
      await b.until(() => b.arrivals.length >= 4 * rounds);
      await a.until(() => errors.length >= 2 * rounds);
      assertEquals(b.arrivals.length, 4 * rounds);
      for (const error of errors) {
        assertEquals(error, { kind: "unreachable", destination: closed, what: "port" });
      }
      assertEquals(a.driver.counters(), { "unreachable:port": errors.length });
      // The queue is empty, so that the driver sleeps.
      const from = performance.now();
      assertEquals(a.driver.wait(30), false);
      assert(performance.now() - from > 20, "the driver sleeps again");
    },
  });
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

Deno.test("without the permission for FFI the portable driver is taken, and says why", async () => {
  const script = new URL("./support/driver_name.ts", import.meta.url).pathname;
  const args = [
    "run",
    "--no-check",
    "--allow-net",
    "--allow-read",
    "--allow-sys",
    "--unstable-net",
    script,
  ];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    stdin: "null",
    env: { NO_COLOR: "1" },
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const reason = unsupported ?? `no permission: --allow-ffi=${LIBC}`;
  assertEquals(new TextDecoder().decode(stdout), `portable (${reason}), wasm\n`);
});

Deno.test({
  name: "the fast driver needs the permission for libc alone",
  ignore: unsupported !== undefined || libc === undefined,
  fn: async () => {
    const script = new URL("./support/driver_name.ts", import.meta.url).pathname;
    const some = ["--allow-net", "--allow-read", "--allow-sys", `--allow-ffi=${libc}`];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", ...some, "--unstable-net", script],
      stdin: "null",
      env: { NO_COLOR: "1" },
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const aead = new URL("../wg/aead-x86_64.so", import.meta.url).pathname;
    const cipher = native ? `wasm (no permission: --allow-ffi=${aead})` : "wasm";
    assertEquals(new TextDecoder().decode(stdout), `fast, ${cipher}\n`);
  },
});

Deno.test({
  name: "a native cipher cut short leaves the engine its own, and status says why",
  ignore: unsupported !== undefined || !native,
  fn: async () => {
    const root = new URL("..", import.meta.url).pathname;
    const copy = await Deno.makeTempDir();
    try {
      const folders = [
        "agent",
        "core",
        "discovery",
        "io",
        "proto",
        "relay",
        "traversal",
        "tests/support",
      ];
      const files = ["deno.json", "deno.lock"];
      await Deno.mkdir(`${copy}/tests`);
      await Deno.mkdir(`${copy}/wg`);
      for await (const { name, isFile } of Deno.readDir(`${root}wg`)) {
        if (isFile) files.push(`wg/${name}`);
      }
      for (const name of files) await Deno.copyFile(`${root}${name}`, `${copy}/${name}`);
      for (const name of folders) {
        await cp(`${root}${name}`, `${copy}/${name}`, { recursive: true });
      }
      await Deno.truncate(`${copy}/wg/aead-x86_64.so`, 4096);
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--no-check", "-A", "--unstable-net", `${copy}/tests/support/driver_name.ts`],
        stdin: "null",
        env: { NO_COLOR: "1" },
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      const reason = `its file has 4096 bytes, not ${AEAD_DIGEST.bytes}`;
      assertEquals(new TextDecoder().decode(stdout), `fast, wasm (${reason})\n`);
    } finally {
      await Deno.remove(copy, { recursive: true });
    }
  },
});

Deno.test({
  name: "the native cipher needs the permission for its file, and --datapath wasm does without",
  ignore: unsupported !== undefined || libc === undefined || !native,
  fn: async () => {
    const script = new URL("./support/driver_name.ts", import.meta.url).pathname;
    const aead = new URL("../wg/aead-x86_64.so", import.meta.url).pathname;
    const some = ["--allow-net", "--allow-read", "--allow-sys", `--allow-ffi=${libc},${aead}`];
    for (const [driver, cipher] of [["auto", "native"], ["wasm", "wasm"]] as const) {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--no-check", ...some, "--unstable-net", script, driver],
        stdin: "null",
        env: { NO_COLOR: "1" },
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      assertEquals(new TextDecoder().decode(stdout), `fast, ${cipher}\n`);
    }
  },
});

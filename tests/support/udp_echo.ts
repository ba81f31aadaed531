/**
 * `udp_echo.ts ADDRESS NEAR FAR`: sends datagrams of many sizes from namespace NEAR to ADDRESS in FAR, which sends each back,
 * and says whether all came back unchanged. `udp_echo.ts serve ADDRESS` is the far end.
 *
 * @module
 */
import { Child } from "./child.ts";
import { say } from "./say.ts";
import { within } from "./scope.ts";

/** Sizes around those that fit the MTU of 1420 bytes, and some that the kernel must cut into fragments. */
const SIZES = [0, 1, 100, 1000, 1371, 1372, 1373, 1392, 1393, 4000, 20_000];
/** Datagrams of one size at once, and their bytes: a socket buffers only so much. */
const BURST = 20;
const BURST_BYTES = 64_000;
const ANSWER_MS_MAX = 20_000;

const script = new URL(import.meta.url).pathname;
const deno = [Deno.execPath(), "run", "-A", "--unstable-net", script];

async function serve(address: string): Promise<void> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: address, port: 0 });
  say(`ready ${(socket.addr as Deno.NetAddr).port}`);
  for await (const [bytes, from] of socket) await socket.send(bytes, from);
}

async function ask(address: string, port: number): Promise<void> {
  const hostname = address.includes(":") ? "::" : "0.0.0.0";
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  for (const size of SIZES) {
    const repeat = Math.min(BURST, Math.floor(BURST_BYTES / Math.max(1, size)));
    // Bursts, so that datagrams of one size travel in trains.
    for (let i = 0; i < repeat; i++) {
      const bytes = new Uint8Array(size).fill(size + i);
      await socket.send(bytes, { transport: "udp", hostname: address, port });
    }
    const missing = new Set(Array.from({ length: repeat }, (_, i) => (size + i) & 0xff));
    for (let i = 0; i < repeat; i++) {
      const [bytes] = await within(ANSWER_MS_MAX, `${size} bytes`, socket.receive());
      const [first = size + i] = bytes;
      const right = bytes.length === size && bytes.every((byte) => byte === first) &&
        missing.delete(first & 0xff);
      if (!right) throw new Error(`Of ${size} bytes, ${bytes.length} came back, or others`);
    }
  }
  say("all came back");
}

if (import.meta.main) {
  const [first = "", second = "", third = ""] = Deno.args;
  if (first === "serve") await serve(second);
  else if (first === "ask") await ask(second, Number(third));
  else {
    await using server = new Child([...deno, "serve", first], { namespace: third });
    const port = (await server.line(/^ready /)).slice("ready ".length);
    await using client = new Child([...deno, "ask", first, port], { namespace: second });
    const { code } = await client.exited;
    say(client.log);
    if (code !== 0) Deno.exitCode = 1;
  }
}

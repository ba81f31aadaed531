/**
 * A process that makes the load of `protocol.ts` from inside a tunnel, and how it is told to: one JSON line each way
 * on a unix socket, which no network namespace is in the way of.
 *
 * @module
 */
import { formatSocketAddress, messageOf, parseSocketAddress } from "../../core/mod.ts";
import type { SocketAddress } from "../../core/mod.ts";
import { type Dial, type Flow, ping, type RoundTrips, transfer } from "./protocol.ts";

/** What is asked for. */
export type Order =
  | {
    /** Direction, seen from the process that is asked. */
    readonly kind: "send" | "receive";
    /** The load server inside the tunnel. */
    readonly target: string;
    /** Streams at once. */
    readonly streams: number;
    /** Uncounted time at the start. */
    readonly skipMs: number;
    /** Counted time. */
    readonly measureMs: number;
  }
  | {
    /** Round trips. */
    readonly kind: "ping";
    /** The load server inside the tunnel. */
    readonly target: string;
    /** How many. */
    readonly count: number;
  };

/** The answer: what was measured, or why it was not. */
type Reply = { readonly flows: readonly Flow[] } | RoundTrips | { readonly error: string };

/** Carries out orders that come in on a unix socket until the process ends. */
export async function obey(
  path: string,
  connect: (target: SocketAddress) => ReturnType<Dial>,
): Promise<void> {
  const listener = Deno.listen({ transport: "unix", path });
  for await (const connection of listener) {
    serve(connection, connect).catch(() => {}).finally(() => connection.close());
  }
}

/** Asks the process behind a unix socket for bulk streams. Rejects with its reason. */
export async function orderTransfer(
  path: string,
  order: Omit<Extract<Order, { kind: "send" | "receive" }>, "target"> & { target: SocketAddress },
): Promise<readonly Flow[]> {
  const reply = await ask(path, { ...order, target: formatSocketAddress(order.target) });
  if ("flows" in reply) return reply.flows;
  throw new Error(`No flows in the answer of ${path}`);
}

/** Asks the process behind a unix socket for round trips. Rejects with its reason. */
export async function orderPing(
  path: string,
  { target, count }: { readonly target: SocketAddress; readonly count: number },
): Promise<RoundTrips> {
  const reply = await ask(path, { kind: "ping", target: formatSocketAddress(target), count });
  if ("p50Ms" in reply) return reply;
  throw new Error(`No round trips in the answer of ${path}`);
}

async function ask(path: string, order: Order): Promise<Exclude<Reply, { error: string }>> {
  using connection = await Deno.connect({ transport: "unix", path });
  await connection.write(new TextEncoder().encode(`${JSON.stringify(order)}\n`));
  const { value: line } = await lines(connection).next();
  if (line === undefined) throw new Error(`${path} broke off`);
  const reply = JSON.parse(line) as Reply;
  if ("error" in reply) throw new Error(reply.error);
  return reply;
}

async function serve(
  connection: Deno.UnixConn,
  connect: (target: SocketAddress) => ReturnType<Dial>,
): Promise<void> {
  for await (const line of lines(connection)) {
    const reply: Reply = await perform(JSON.parse(line) as Order, connect)
      .catch((error) => ({ error: messageOf(error) }));
    await connection.write(new TextEncoder().encode(`${JSON.stringify(reply)}\n`));
  }
}

async function perform(
  order: Order,
  connect: (target: SocketAddress) => ReturnType<Dial>,
): Promise<Reply> {
  const target = parseSocketAddress(order.target);
  if (target === undefined) throw new Error(`Not an address: ${order.target}`);
  const dial = (): ReturnType<Dial> => connect(target);
  if (order.kind === "ping") return await ping(dial, order.count);
  return { flows: await transfer(dial, order) };
}

async function* lines(connection: Deno.UnixConn): AsyncGenerator<string, void> {
  let rest = "";
  for await (const text of connection.readable.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

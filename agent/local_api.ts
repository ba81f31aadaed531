/**
 * The control plane of a running node: a unix socket in its state directory, for `moray status` and `moray ping`.
 *
 * One JSON value per line, answered in order:
 *
 * ```text
 *   {"id":1,"method":"status"}                                    -> {"id":1,"result":{...NodeStatus}}
 *   {"id":2,"method":"nextStatus","params":{"timeoutMs":1000}}      -> the same, when a path has changed or the time is over
 *   {"id":3,"method":"ping","params":{"peer":"web","sequence":1,"timeoutMs":1000}}
 *                                                                 -> {"id":3,"error":{"code":"unreachable","message":"..."}}
 * ```
 *
 * Whoever may open the socket may command the node: the directory is 0700, the socket 0600. Where the path is too
 * long for a unix socket, `api.sock` is a symbolic link to one in a private directory of the system's.
 *
 * @module
 */
import { messageOf, MorayError } from "../core/mod.ts";
import { ensurePrivateDirectory, fromSystem } from "../io/mod.ts";
import { connectStream, openSocket } from "./local_socket.ts";
import { encodeLine, LineReader, parseAnswer, parseRequest } from "./local_protocol.ts";
import type { LocalAnswer, LocalOutcome, LocalRequest } from "./local_protocol.ts";
import type { MembershipHandle } from "./membership/handle.ts";
import type { ByteStream } from "./network.ts";
import type { NetcheckReport } from "./netcheck/report.ts";
import type { Log } from "./options.ts";
import { writeAll } from "./splice.ts";
import type { NodeHandle, NodeStatus, PingReply } from "./status.ts";
import { abortable, NOT_CONNECTED, startStreamServer, withDeadline } from "./stream_server.ts";

/** Programs that may be connected at once. */
export const CLIENTS_MAX = 16;
/** Longest request line in bytes. */
export const REQUEST_BYTES_MAX = 65_536;
/** Longest answer line in bytes: the status of a mesh of 16,384 nodes. */
export const ANSWER_BYTES_MAX = 16 << 20;
/** How long a command that is being answered may hold up the end of the node. */
const STOP_GRACE_MS = 100;
/** How long a client waits for a node that is there. */
const ANSWER_TIMEOUT_MS = 5000;

/** What {@linkcode startLocalApi} needs. */
export interface LocalApiOptions {
  /** State directory. */
  readonly state: string;
  /** The node. */
  readonly node: NodeHandle;
  /** Tells when something has changed that who watches wants to see at once. Absent: nothing does. */
  readonly changes?: Changes;
  /** Where failures go. */
  readonly log: Log;
}

/** What changes in a node. */
export interface Changes {
  /** Resolves when the path to a peer changes, or after `ms` milliseconds, or with the node's end. */
  changeWithin(ms: number): Promise<void>;
}

/** A running node, as commands see it. */
export interface RemoteHandle extends NodeHandle, Disposable {
  /** The members of the mesh; its calls reject with `unsupported` where the node is no colony. */
  readonly membership: MembershipHandle;
  /** The state when the path to a peer has changed, or after `timeoutMs`, 1 to 60000. */
  nextStatus(options: { timeoutMs: number }): Promise<NodeStatus>;
}

/** A running control plane. */
export interface LocalApi extends AsyncDisposable {
  /** Path of the socket. */
  readonly path: string;
  /** Stops answering and removes the socket. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Opens the control plane of a node. Replaces the socket of a process that died; throws `portInUse` while another one lives.
 */
export async function startLocalApi(
  { state, node, changes, log }: LocalApiOptions,
): Promise<LocalApi> {
  await ensurePrivateDirectory(state);
  const socket = await openSocket(state);
  let closed: Promise<void> | undefined;
  const listener = {
    accept: (): Promise<Deno.UnixConn> => socket.listener.accept(),
    close: (): void => void (closed ??= socket.close()),
  };
  const server = startStreamServer({
    name: "local API",
    listener,
    log,
    connectionsMax: CLIENTS_MAX,
    graceMs: STOP_GRACE_MS,
    serve: async (conn, signal) => {
      await answerAll({ conn, signal, node, changes });
      return NOT_CONNECTED;
    },
  });
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => stopped ??= server.stop().then(() => closed);
  return { path: socket.path, stop, [Symbol.asyncDispose]: stop };
}

/**
 * Connects to the node that runs with a state directory.
 *
 * Rejects with `unreachable` if none runs, `permission` if it is somebody else's. The handle's calls reject with what the
 * node says, `closed` if it ends, `timedOut` if it does not answer.
 */
export async function connectLocalApi(state: string): Promise<RemoteHandle> {
  return new RemoteNode(await connectStream(state), state);
}

/** What requests are about. */
interface Asked {
  readonly node: NodeHandle;
  readonly changes: Changes | undefined;
}

/** Answers one client until it leaves. */
async function answerAll(
  { conn, signal, ...asked }: Asked & { conn: ByteStream; signal: AbortSignal },
): Promise<void> {
  const lines = new LineReader(REQUEST_BYTES_MAX);
  const buffer = new Uint8Array(16_384);
  try {
    while (true) {
      const n = await abortable(conn.read(buffer), signal);
      if (n === null) return;
      const whole = lines.handleInput(buffer.subarray(0, n));
      if (whole === undefined) {
        const error = {
          code: "limit",
          message: `A request is longer than ${REQUEST_BYTES_MAX} bytes`,
        };
        return await writeAll(conn, encodeLine({ id: null, error }));
      }
      for (const line of whole) {
        const answer = await abortable(answerTo(line, asked), signal);
        await abortable(writeAll(conn, encodeLine(answer)), signal);
      }
    }
  } catch {
    // The client left, or the node stops: nobody to tell.
  }
}

async function answerTo(line: string, asked: Asked): Promise<LocalAnswer> {
  const request = parseRequest(line);
  if ("error" in request) return request;
  try {
    return { id: request.id, result: await perform(request, asked) };
  } catch (error) {
    const code = error instanceof MorayError ? error.code : "internal";
    return { id: request.id, error: { code, message: messageOf(error) } };
  }
}

function perform(request: LocalRequest, { node, changes }: Asked): Promise<object> {
  switch (request.method) {
    case "nextStatus":
      return nextStatus(node, changes, request.timeoutMs);
    case "status":
      return node.status();
    case "netcheck":
      return node.netcheck();
    case "ping":
      return node.ping(request.peer, { sequence: request.sequence, timeoutMs: request.timeoutMs });
    case "members":
      return membersOf(node).members();
    case "invite":
      return membersOf(node).invite({ name: request.name, lifeMs: request.lifeMs });
    case "cancelInvite":
      return membersOf(node).cancelInvite(request.target);
    case "revoke":
      return membersOf(node).revoke(request.target);
    default:
      return request satisfies never;
  }
}

async function nextStatus(
  node: NodeHandle,
  changes: Changes | undefined,
  ms: number,
): Promise<NodeStatus> {
  await (changes ?? { changeWithin: pause }).changeWithin(ms);
  return await node.status();
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function membersOf({ membership }: NodeHandle): MembershipHandle {
  if (membership !== undefined) return membership;
  throw new MorayError("unsupported", "This node is no colony: give the colony's --state");
}

/** A node at the other end of a socket. One request is under way at a time; the others wait for it. */
class RemoteNode implements RemoteHandle {
  readonly #conn: Deno.UnixConn;
  readonly #state: string;
  readonly #lines = new LineReader(ANSWER_BYTES_MAX);
  readonly #closing = new AbortController();
  #turn: Promise<unknown> = Promise.resolve();
  #lastId = 0;

  constructor(conn: Deno.UnixConn, state: string) {
    this.#conn = conn;
    this.#state = state;
  }

  async status(): Promise<NodeStatus> {
    return await this.#ask("status", {}, ANSWER_TIMEOUT_MS) as NodeStatus;
  }

  async nextStatus({ timeoutMs }: { timeoutMs: number }): Promise<NodeStatus> {
    const ms = timeoutMs + ANSWER_TIMEOUT_MS;
    return await this.#ask("nextStatus", { timeoutMs }, ms) as NodeStatus;
  }

  async netcheck(): Promise<NetcheckReport> {
    return await this.#ask("netcheck", {}, ANSWER_TIMEOUT_MS) as NetcheckReport;
  }

  async ping(
    peer: string,
    { sequence, timeoutMs }: { sequence: number; timeoutMs: number },
  ): Promise<PingReply> {
    const params = { peer, sequence, timeoutMs };
    return await this.#ask("ping", params, timeoutMs + ANSWER_TIMEOUT_MS) as PingReply;
  }

  get membership(): MembershipHandle {
    const ask = <T>(method: string, params: object): Promise<T> =>
      this.#ask(method, params, ANSWER_TIMEOUT_MS) as Promise<T>;
    return {
      members: () => ask("members", {}),
      invite: (request) => ask("invite", request),
      cancelInvite: (target) => ask("cancelInvite", { target }),
      revoke: (target) => ask("revoke", { target }),
    };
  }

  [Symbol.dispose](): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new MorayError("closed", "The connection to the node was closed"));
    this.#conn.closeWrite().catch(() => {});
    this.#conn.close();
  }

  /** Waits for its turn, then asks. */
  #ask(method: string, params: object, ms: number): Promise<object> {
    const mine = this.#turn.then(() => this.#exchange(method, params, ms));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  async #exchange(method: string, params: object, ms: number): Promise<object> {
    const id = ++this.#lastId;
    const { signal } = this.#closing;
    const what = `The node with --state ${this.#state}`;
    let outcome: LocalOutcome;
    try {
      signal.throwIfAborted();
      outcome = await withDeadline({ signal, ms, what }, async (deadline) => {
        await abortable(writeAll(this.#conn, encodeLine({ id, method, params })), deadline);
        return await this.#answerOf(id, deadline);
      });
    } catch (error) {
      // An answer that comes after its time would be taken for the next one's.
      this[Symbol.dispose]();
      throw fromSystem(error, "ask the node");
    }
    if ("error" in outcome) throw outcome.error;
    return outcome.result;
  }

  async #answerOf(id: number, signal: AbortSignal): Promise<LocalOutcome> {
    const buffer = new Uint8Array(65_536);
    while (true) {
      const n = await abortable(this.#conn.read(buffer), signal);
      if (n === null) throw new MorayError("closed", "The node has ended");
      const lines = this.#lines.handleInput(buffer.subarray(0, n));
      if (lines === undefined) throw new MorayError("limit", "The node's answer is too long");
      const [line] = lines;
      if (line !== undefined) return parseAnswer(line, id);
    }
  }
}

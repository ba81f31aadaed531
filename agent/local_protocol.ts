/** The lines of the local API: bounded, and parsed without trust. Pure. @module */
import { type ErrorCode, MorayError } from "../core/mod.ts";
import { isLabel } from "./names.ts";

/** A request that can be performed. */
export type LocalRequest =
  | { readonly id: number; readonly method: "status" | "netcheck" | "members" }
  | {
    readonly id: number;
    readonly method: "invite";
    /** Name for the node; empty for none. */
    readonly name: string;
    /** Life in milliseconds, more than 0. */
    readonly lifeMs: number;
  }
  | {
    readonly id: number;
    readonly method: "cancelInvite" | "revoke";
    /** The invite's id; the node's name or key. 1 to 255 characters. */
    readonly target: string;
  }
  | {
    readonly id: number;
    readonly method: "nextStatus";
    /** More than 0, up to {@linkcode WAIT_MS_MAX}. */
    readonly timeoutMs: number;
  }
  | {
    readonly id: number;
    readonly method: "ping";
    /** Name or mesh address, 1 to 255 characters. */
    readonly peer: string;
    /** From 0. */
    readonly sequence: number;
    /** 1 to {@linkcode WAIT_MS_MAX}. */
    readonly timeoutMs: number;
  };

/** A request that cannot be performed, as its answer. */
export interface LocalRefusal {
  /** The request's, where it had one. */
  readonly id: number | null;
  /** Why. */
  readonly error: { readonly code: string; readonly message: string };
}

/** An answer line. */
export type LocalAnswer = LocalRefusal | { readonly id: number; readonly result: object };

/** An answer as its asker sees it. */
export type LocalOutcome = { readonly result: object } | { readonly error: MorayError };

const METHODS = "status, nextStatus, netcheck, ping, invite, cancelInvite, revoke and members";

/** Longest wait for an echo or a change that may be asked for. */
export const WAIT_MS_MAX = 60_000;

/** Cuts a stream of bytes into lines of a bounded length. */
export class LineReader {
  readonly #bytesMax: number;
  #chunks: Uint8Array[] = [];
  #length = 0;

  /** Lines of up to `bytesMax` bytes, without the line end. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Takes bytes and returns the lines that are whole now; `undefined` once a line is too long. Empty lines are left out. */
  handleInput(bytes: Uint8Array): string[] | undefined {
    const lines: string[] = [];
    let rest = bytes;
    for (let end; (end = rest.indexOf(0x0a)) >= 0; rest = rest.subarray(end + 1)) {
      if (!this.#keep(rest.subarray(0, end))) return undefined;
      const line = this.#take().trim();
      if (line !== "") lines.push(line);
    }
    return this.#keep(rest) ? lines : undefined;
  }

  #keep(bytes: Uint8Array): boolean {
    this.#length += bytes.length;
    if (this.#length > this.#bytesMax) return false;
    if (bytes.length > 0) this.#chunks.push(bytes.slice());
    return true;
  }

  #take(): string {
    const whole = new Uint8Array(this.#length);
    let at = 0;
    for (const chunk of this.#chunks) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    this.#chunks = [];
    this.#length = 0;
    return new TextDecoder().decode(whole);
  }
}

/** Encodes a value as a line. */
export function encodeLine(value: object): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value)}\n`);
}

/** Parses a request; returns the answer to what is none. Never throws. */
export function parseRequest(line: string): LocalRequest | LocalRefusal {
  const value = parseObject(line);
  if (value === undefined) return refuse(null, "A request is a JSON object in one line");
  const id = value["id"];
  const method = value["method"];
  if (!isCount(id)) return refuse(null, "A request needs an id: a number from 0");
  if (method === "status" || method === "netcheck" || method === "members") return { id, method };
  const params = isObject(value["params"]) ? value["params"] : {};
  if (method === "invite") return parseInviteRequest(id, params);
  if (method === "cancelInvite" || method === "revoke") {
    const target = params["target"];
    return typeof target === "string" && target !== "" && target.length <= 255
      ? { id, method, target }
      : refuse(id, `${method} needs a target`);
  }
  if (method !== "ping" && method !== "nextStatus") {
    return refuse(id, `The methods are ${METHODS}`);
  }
  const timeoutMs = params["timeoutMs"];
  if (typeof timeoutMs !== "number" || !(timeoutMs > 0 && timeoutMs <= WAIT_MS_MAX)) {
    return refuse(id, `${method} needs a timeoutMs: a number up to ${WAIT_MS_MAX}`);
  }
  if (method === "nextStatus") return { id, method, timeoutMs };
  const peer = params["peer"];
  const sequence = params["sequence"];
  if (typeof peer !== "string" || peer === "" || peer.length > 255) {
    return refuse(id, "ping needs a peer");
  }
  if (!isCount(sequence)) return refuse(id, "ping needs a sequence: a number from 0");
  return { id, method, peer, sequence, timeoutMs };
}

function parseInviteRequest(
  id: number,
  { name = "", lifeMs }: Readonly<Record<string, unknown>>,
): LocalRequest | LocalRefusal {
  if (typeof name !== "string" || (name !== "" && !isLabel(name))) {
    return refuse(id, "invite needs a name that is one, or none");
  }
  if (typeof lifeMs !== "number" || !(lifeMs > 0 && Number.isFinite(lifeMs))) {
    return refuse(id, "invite needs a lifeMs: a number of milliseconds");
  }
  return { id, method: "invite", name, lifeMs };
}

/** Parses the answer to the request `id`: its result, or the error to throw. */
export function parseAnswer(line: string, id: number): LocalOutcome {
  const value = parseObject(line);
  if (value === undefined || (value["id"] !== id && value["id"] !== null)) {
    return { error: new MorayError("internal", "The node's answer makes no sense") };
  }
  if (isObject(value["result"])) return { result: value["result"] };
  const error = isObject(value["error"]) ? value["error"] : {};
  const message = typeof error["message"] === "string" ? error["message"] : "The node says no";
  return { error: new MorayError(codeOf(error["code"]), message.replaceAll(/\s+/g, " ")) };
}

/** Every code, so that one of a newer node becomes `internal`. */
const CODES: Readonly<Record<ErrorCode, true>> = {
  usage: true,
  config: true,
  key: true,
  portInUse: true,
  permission: true,
  unreachable: true,
  refused: true,
  timedOut: true,
  corrupt: true,
  diskFull: true,
  unsupported: true,
  closed: true,
  limit: true,
  internal: true,
};

function codeOf(value: unknown): ErrorCode {
  return typeof value === "string" && Object.hasOwn(CODES, value) ? value as ErrorCode : "internal";
}

function refuse(id: number | null, message: string): LocalRefusal {
  return { id, error: { code: "usage", message } };
}

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

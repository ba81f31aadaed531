/**
 * The calls that nodes make all the time, answered without Connect's router: the same bytes, for a fraction of its work.
 *
 * ```text
 *   POST, plain JSON or protobuf, no compression --> parse --> method --> one answer in one piece
 *   anything else, or a body that does not parse --> Connect, which knows every form and every fault
 * ```
 *
 * @module
 */
import {
  create,
  type DescMethod,
  fromBinary,
  fromJsonString,
  type Message,
  toBinary,
  toJsonString,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type ContextValues, type ServiceImpl } from "@connectrpc/connect";
import { codeToHttpStatus, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { DiscoveryService } from "../../proto/mod.ts";
import type { Caller } from "./proven.ts";

/** Methods that take one message and give one, and look at nothing but the request and its values. */
const METHODS = [
  "registerColony",
  "registerAgent",
  "lookupColony",
  "lookupAgent",
  "health",
] as const;
const LOOKUP = DiscoveryService.method.lookupColony.name;
/** As Connect reads JSON. */
const JSON_OPTIONS = { ignoreUnknownFields: true };
/** Headers of a call whose value this path knows; any other value is for Connect. */
const KNOWN: Readonly<Record<string, RegExp>> = {
  "connect-protocol-version": /^1$/,
  "connect-timeout-ms": /^\d{1,10}$/,
};

/** A call's body and what is known of it. */
export interface DirectCall {
  /** The path of the URL. */
  readonly path: string;
  /** The request, whose body has been read. */
  readonly request: Request;
  /** The body as it came. */
  readonly body: Uint8Array;
  /** Who calls, and what else the methods ask for. */
  readonly values: ContextValues;
}

/** Throws for a call that is one too many, at once or, where that takes a look into the store, later. */
export type Admission = (message: Message, values: ContextValues) => Promise<void> | undefined;

/** Those methods as they are implemented: with less than Connect's context, which costs more to make than most calls. */
export type FrequentMethods = {
  readonly [Name in typeof METHODS[number]]: (
    request: Parameters<Methods[Name]>[0],
    caller: Caller,
  ) => ReturnType<Methods[Name]>;
};
type Methods = ServiceImpl<typeof DiscoveryService>;
type Implementation = (request: Message, caller: Caller) => Message | Promise<Message>;

/** Answers the frequent calls. */
export class DirectCalls {
  readonly #methods = new Map<string, { readonly method: DescMethod; run: Implementation }>();

  readonly #admit: Admission;
  /** Answers to look-ups as they were sent last. */
  readonly #texts = new WeakMap<Message, string>();

  /** Answers with these methods those that are let in. */
  constructor(methods: FrequentMethods, admit: Admission) {
    this.#admit = admit;
    for (const name of METHODS) {
      const path = `/${DiscoveryService.typeName}/${DiscoveryService.method[name].name}`;
      // The schema of the method is that of its implementation.
      const run = methods[name] as unknown as Implementation;
      this.#methods.set(path, { method: DiscoveryService.method[name], run });
    }
  }

  /** Whether a request may be answered here, once its body is read. */
  takes({ method, headers }: Request, path: string): boolean {
    if (method !== "POST" || !this.#methods.has(path)) return false;
    if (formOf(headers) === undefined || headers.has("content-encoding")) return false;
    return Object.entries(KNOWN).every(([name, form]) => form.test(headers.get(name) ?? "1"));
  }

  /** An answer as JSON. Those to look-ups are the same object again and again. */
  #json({ name, output: schema }: DescMethod, output: Message): string {
    if (name !== LOOKUP) return toJsonString(schema, output);
    let text = this.#texts.get(output);
    if (text === undefined) {
      text = toJsonString(schema, output);
      this.#texts.set(output, text);
    }
    return text;
  }

  /**
   * Answers a call that {@linkcode DirectCalls.takes}, with these headers among others; `undefined` for a body that is for Connect to
   * refuse.
   */
  async answer(
    { path, request, body, values }: DirectCall,
    headers: readonly [string, string][],
  ): Promise<Response | undefined> {
    const known = this.#methods.get(path);
    const form = formOf(request.headers);
    if (known === undefined || form === undefined) return undefined;
    const { method, run } = known;
    const input = parse(method, body, form);
    if (input === undefined) return undefined;
    try {
      const admitted = this.#admit(input, values);
      if (admitted !== undefined) await admitted;
      const output = create(method.output, await run(input, { values }));
      return form === "json"
        ? respond(this.#json(method, output), { form: "application/json", headers })
        : respond(toBinary(method.output, output) as Uint8Array<ArrayBuffer>, {
          form: "application/proto",
          headers,
        });
    } catch (error) {
      return refuse(error, headers);
    }
  }
}

function formOf(headers: Headers): "json" | "proto" | undefined {
  switch (headers.get("content-type")) {
    case "application/json":
      return "json";
    case "application/proto":
      return "proto";
    default:
      return undefined;
  }
}

function parse(method: DescMethod, body: Uint8Array, form: "json" | "proto"): Message | undefined {
  try {
    if (form === "proto") return fromBinary(method.input, body);
    return fromJsonString(method.input, new TextDecoder().decode(body), JSON_OPTIONS);
  } catch {
    return undefined;
  }
}

function refuse(error: unknown, headers: readonly [string, string][]): Response {
  const known = error instanceof ConnectError
    ? error
    : new ConnectError("internal error", Code.Internal, undefined, undefined, error);
  const bytes = errorToJsonBytes(known, undefined) as Uint8Array<ArrayBuffer>;
  return respond(bytes, {
    form: "application/json",
    headers: [...headers, ...known.metadata],
    status: codeToHttpStatus(known.code),
  });
}

function respond(
  body: string | Uint8Array<ArrayBuffer>,
  { form, headers, status = 200 }: {
    readonly form: string;
    readonly headers: readonly [string, string][];
    readonly status?: number;
  },
): Response {
  return new Response(body, { status, headers: [["content-type", form], ...headers] });
}

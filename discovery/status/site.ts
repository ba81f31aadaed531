/**
 * The status page's requests: the page, its live part, its style and script, and the sign-in.
 *
 * ```text
 *   GET /            the page, or (401) the form            POST /sign-in   token=...  -> a session in a cookie, then the page
 *   GET /events      what changes, as Server-Sent Events    POST /sign-out  -> no session
 *   GET /status.css, /status.js                             Authorization: Bearer TOKEN instead of a session
 * ```
 *
 * @module
 */
import { messageOf } from "../../core/mod.ts";
import { delay } from "../delay.ts";
import type { Log } from "../log.ts";
import { readBody } from "../service/read_body.ts";
import { SCRIPT, STYLE } from "./assets.ts";
import { gatherStatus, type StatusSource } from "./gather.ts";
import { LiveStreams, LOOK_MS } from "./live.ts";
import { faultPage, signInPage, statusPage } from "./page.ts";
import { sections, summary } from "./sections.ts";
import { COOKIE, cookieOf, GUESS_WAIT_MS, SESSION_MS, SignInDesk } from "./sign_in.ts";
import {
  parseStatusQuery,
  type StatusData,
  statusParameters,
  type StatusQuery,
} from "./status_data.ts";

/** Largest body of a sign-in. */
const FORM_BYTES_MAX = 4096;
/** What was gathered is good for so many times as long as gathering took, and at least until the next look. */
const REST_FACTOR = 10;
/** Queries whose answers are kept; the one asked for longest ago goes. */
const CACHED_MAX = 32;

/** Nothing but our own style, script and stream, and nobody around us. */
const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
} as const;

/** Options of {@linkcode StatusSite}. */
export interface StatusSiteOptions extends StatusSource {
  /** Who says it sees the page. */
  readonly token: string;
  /** Whether the server speaks TLS: then the session goes nowhere else. */
  readonly secure: boolean;
  /** Where the log goes. */
  readonly log: Log;
}

interface Cached {
  readonly goodUntil: () => number;
  readonly data: Promise<StatusData>;
}

/** Who asks: by a token in the header, by a session until it ends, or nobody. */
type Visitor =
  | { readonly kind: "operator"; readonly endsAt: number }
  | { readonly kind: "stranger"; readonly fault?: "wrong" | "wait" };

/** Answers the requests. */
export class StatusSite {
  readonly #options: StatusSiteOptions;
  readonly #desk: SignInDesk;
  readonly #streams: LiveStreams;
  /** By query, in the order of the last question. */
  readonly #cached = new Map<string, Cached>();

  /** Throws `RangeError` for a token that is none. */
  constructor(options: StatusSiteOptions) {
    this.#options = options;
    this.#desk = new SignInDesk(options.token);
    this.#streams = new LiveStreams({ now: options.now, wait: delay });
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.#desk.counters(), ...this.#streams.counters() };
  }

  /** Answers a request from an address; `undefined` for a path that is none of ours. */
  async handle(request: Request, url: URL, remote: string): Promise<Response | undefined> {
    switch (url.pathname) {
      case "/":
        return only(request, "GET") ?? await this.#page(request, url, remote);
      case "/events":
        return only(request, "GET") ?? this.#events(request, url, remote);
      case "/status.css":
        return only(request, "GET") ?? answer(STYLE, { type: "text/css" });
      case "/status.js":
        return only(request, "GET") ?? answer(SCRIPT, { type: "text/javascript" });
      case "/sign-in":
        return only(request, "POST") ?? await this.#signIn(request, remote);
      case "/sign-out":
        return only(request, "POST") ?? this.#signOut(request);
      default:
        return undefined;
    }
  }

  /** Ends every stream. */
  close(): void {
    this.#streams.close();
  }

  async #page(request: Request, url: URL, remote: string): Promise<Response> {
    const visitor = this.#visitor(request, remote);
    if (visitor.kind === "stranger") return refusal(visitor.fault);
    const query = parseStatusQuery(url.searchParams);
    try {
      return answer(statusPage(await this.#look(query), query));
    } catch (error) {
      // The service has logged it, and says nothing of the server's inside.
      return answer(faultPage(`The state cannot be shown now: ${messageOf(error)}.`), {
        status: 503,
      });
    }
  }

  #events(request: Request, url: URL, remote: string): Response {
    const visitor = this.#visitor(request, remote);
    if (visitor.kind === "stranger") return refusal(visitor.fault);
    const query = parseStatusQuery(url.searchParams);
    const stream = this.#streams.open({
      look: async () => {
        const data = await this.#look(query);
        return { sections: sections(data, query), summary: summary(data, query) };
      },
      endsAt: visitor.endsAt,
      lastEventId: request.headers.get("last-event-id") ?? "",
    });
    if (stream === undefined) {
      return answer("Too many look on\n", {
        status: 503,
        type: "text/plain",
        headers: { "retry-after": "10" },
      });
    }
    return answer(stream, { type: "text/event-stream", headers: { "x-accel-buffering": "no" } });
  }

  async #signIn(request: Request, remote: string): Promise<Response> {
    if (isForeign(request)) return answer(signInPage("Sign in from this page."), { status: 403 });
    const body = await readBody(request, { bytesMax: FORM_BYTES_MAX });
    if (typeof body === "string") return answer(signInPage("That is too long."), { status: 413 });
    const token = new URLSearchParams(new TextDecoder().decode(body)).get("token") ?? "";
    const { now, secure, log } = this.#options;
    const verdict = this.#desk.check(now(), remote, token);
    if (verdict !== "right") {
      log("warn", "a wrong token for the status page");
      return refusal(verdict);
    }
    return answer(null, {
      status: 303,
      headers: {
        location: "/",
        "set-cookie": cookie(this.#desk.session(now()), SESSION_MS / 1000, secure),
      },
    });
  }

  #signOut(request: Request): Response {
    if (isForeign(request)) return answer(signInPage("Sign out from this page."), { status: 403 });
    const { secure } = this.#options;
    return answer(null, {
      status: 303,
      headers: { location: "/", "set-cookie": cookie("", 0, secure) },
    });
  }

  #visitor(request: Request, remote: string): Visitor {
    const now = this.#options.now();
    const session = cookieOf(request.headers.get("cookie"), COOKIE);
    const endsAt = session === undefined ? undefined : this.#desk.sessionEnd(now, session);
    if (endsAt !== undefined) return { kind: "operator", endsAt };
    const [, token] = /^Bearer +(\S+)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
    if (token === undefined) return { kind: "stranger" };
    const verdict = this.#desk.check(now, remote, token);
    return verdict === "right"
      ? { kind: "operator", endsAt: Infinity }
      : { kind: "stranger", fault: verdict };
  }

  /** What there is to see, as it was a moment ago: however many look on, the store is asked as if it were one. */
  async #look(query: StatusQuery): Promise<StatusData> {
    const { now } = this.#options;
    const key = JSON.stringify(statusParameters(query));
    const known = this.#cached.get(key);
    this.#cached.delete(key);
    if (known !== undefined && now() < known.goodUntil()) {
      this.#cached.set(key, known);
      return await known.data;
    }
    if (this.#cached.size >= CACHED_MAX) {
      const [oldest] = this.#cached.keys();
      if (oldest !== undefined) this.#cached.delete(oldest);
    }
    const begunAt = now();
    let goodUntil = Infinity;
    const data = gatherStatus(this.#options, query);
    const entry = { goodUntil: () => goodUntil, data };
    this.#cached.set(key, entry);
    try {
      return await data;
    } catch (error) {
      if (this.#cached.get(key) === entry) this.#cached.delete(key);
      throw error;
    } finally {
      const tookMs = Math.max(0, now() - begunAt);
      goodUntil = now() + Math.max(LOOK_MS / 2, REST_FACTOR * tookMs);
    }
  }
}

/** The form again, with the reason. */
function refusal(fault: "wrong" | "wait" | undefined): Response {
  if (fault === "wait") {
    const seconds = GUESS_WAIT_MS / 1000;
    return answer(signInPage(`Too many wrong tokens: wait ${seconds} s.`), {
      status: 429,
      headers: { "retry-after": String(seconds) },
    });
  }
  return answer(signInPage(fault === "wrong" ? "That is not the token." : undefined), {
    status: 401,
    headers: { "www-authenticate": 'Bearer realm="moray"' },
  });
}

/** Whether a browser says that another site made the request. */
function isForeign(request: Request): boolean {
  const site = request.headers.get("sec-fetch-site");
  return site !== null && site !== "same-origin" && site !== "none";
}

/** The refusal of another method; HEAD is as good as GET. */
function only(request: Request, method: "GET" | "POST"): Response | undefined {
  const { method: given } = request;
  if (given === method || (given === "HEAD" && method === "GET")) return undefined;
  return answer("Method not allowed\n", {
    status: 405,
    type: "text/plain",
    headers: { allow: method === "GET" ? "GET, HEAD" : method },
  });
}

function cookie(value: string, seconds: number, secure: boolean): string {
  return `${COOKIE}=${value}; Max-Age=${seconds}; Path=/; HttpOnly; SameSite=Strict${
    secure ? "; Secure" : ""
  }`;
}

function answer(
  body: string | ReadableStream<Uint8Array<ArrayBuffer>> | null,
  { status = 200, type = "text/html", headers = {} }: {
    readonly status?: number;
    readonly type?: string;
    readonly headers?: Readonly<Record<string, string>>;
  } = {},
): Response {
  return new Response(body, {
    status,
    headers: {
      ...HEADERS,
      ...(body !== null && { "content-type": `${type}; charset=utf-8` }),
      ...headers,
    },
  });
}

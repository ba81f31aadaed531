/**
 * A Discovery as Coral deploys it: a second implementation of what it does on the wire, for nodes of ours that meet one.
 *
 * JSON only, unary only, no punch, no Watch, no STUN, no relay, no proofs; timestamps are objects, bytes are objects, an observed
 * endpoint comes from the HTTP connection and has port 0.
 *
 * @module
 */
import { exportJWK, generateKeyPair, SignJWT } from "jose";

const SERVICE = "/coral.discovery.v1.DiscoveryService/";
const TTL_S = 300;
const TOKEN_S = 300;

type Fields = Readonly<Record<string, unknown>>;

/** A call as it came. */
export interface PlainCall {
  /** Name of the method. */
  readonly method: string;
  /** Its content type. */
  readonly contentType: string;
  /** Its headers' names. */
  readonly headers: readonly string[];
  /** Its message. */
  readonly body: Fields;
  /** Status of the answer. */
  status: number;
}

/** How a call is refused. */
class Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** A running one on 127.0.0.1. */
export class PlainCoral implements AsyncDisposable {
  /** Every call, in order; one whose body is no JSON has no fields. */
  readonly calls: PlainCall[] = [];
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #keys: CryptoKeyPair;
  readonly #colonies = new Map<string, { record: Fields; expiresAt: number }>();
  readonly #agents = new Map<string, { record: Fields; expiresAt: number }>();
  readonly #startedAt = Date.now();

  private constructor(keys: CryptoKeyPair) {
    this.#keys = keys;
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      (request, { remoteAddr }) => this.#handle(request, remoteAddr.hostname),
    );
  }

  /** Starts one on a port of the system's choice. */
  static async start(): Promise<PlainCoral> {
    return new PlainCoral(await generateKeyPair("EdDSA") as CryptoKeyPair);
  }

  /** Its URL. */
  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** How often each method was called. */
  counts(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { method } of this.calls) counts[method] = (counts[method] ?? 0) + 1;
    return counts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #handle(request: Request, remote: string): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (request.method === "GET" && pathname === "/health") {
      return Response.json({ status: "ok", version: "coral" });
    }
    if (request.method === "GET" && pathname === "/.well-known/jwks.json") {
      const jwk = await exportJWK(this.#keys.publicKey);
      return Response.json({ keys: [{ ...jwk, kid: "1", use: "sig", alg: "EdDSA" }] });
    }
    if (request.method !== "POST" || !pathname.startsWith(SERVICE)) {
      await request.body?.cancel();
      return new Response("Not Found", { status: 404 });
    }
    const call: PlainCall = {
      method: pathname.slice(SERVICE.length),
      contentType: request.headers.get("content-type") ?? "",
      headers: [...request.headers.keys()],
      body: {},
      status: 200,
    };
    this.calls.push(call);
    const text = await request.text();
    const answer = await this.#answer(call, { text, remote });
    call.status = answer.status;
    return answer;
  }

  async #answer(
    call: PlainCall,
    { text, remote }: { readonly text: string; readonly remote: string },
  ): Promise<Response> {
    try {
      if (call.contentType.includes("application/proto")) {
        throw new Refusal(400, "invalid_argument", "Only JSON encoding is supported");
      }
      const body = JSON.parse(text) as Fields;
      Object.assign(call, { body });
      return Response.json(await this.#run(call.method, body, remote));
    } catch (error) {
      // A stream's envelope is no JSON.
      if (!(error instanceof Refusal)) {
        return new Response("Internal Server Error", { status: 500 });
      }
      const { status, code, message } = error;
      return Response.json({ code, message }, { status });
    }
  }

  async #run(method: string, body: Fields, remote: string): Promise<Fields> {
    switch (method) {
      case "RegisterColony":
        return this.#registerColony(body, remote);
      case "RegisterAgent":
        return this.#registerAgent(body, remote);
      case "LookupColony":
        return found(
          this.#colonies,
          `colony ${required(body, "meshId", "mesh_id")} not found`,
          body["meshId"],
        );
      case "LookupAgent": {
        const agentId = required(body, "agentId", "agent_id");
        const meshId = required(body, "meshId", "mesh_id hint");
        return found(this.#agents, `agent ${agentId} not found`, `${meshId} ${agentId}`);
      }
      case "Health":
        return {
          status: "ok",
          version: "coral",
          uptimeSeconds: String(Math.floor((Date.now() - this.#startedAt) / 1000)),
          registeredColonies: this.#colonies.size,
        };
      case "CreateBootstrapToken": {
        const { reefId, colonyId, agentId, intent } = body;
        const expiresAt = Math.floor(Date.now() / 1000) + TOKEN_S;
        const jwt = await new SignJWT({
          reef_id: reefId,
          colony_id: colonyId,
          agent_id: agentId,
          intent,
        })
          .setProtectedHeader({ alg: "EdDSA", kid: "1" })
          .setExpirationTime(expiresAt)
          .sign(this.#keys.privateKey);
        return { jwt, expiresAt: String(expiresAt) };
      }
      case "RequestRelay":
      case "ReleaseRelay":
        throw new Refusal(501, "unimplemented", "Relay not supported");
      default:
        throw new Refusal(501, "unimplemented", `Unknown RPC: ${method}`);
    }
  }

  #registerColony(body: Fields, remote: string): Fields {
    const meshId = required(body, "meshId", "mesh_id");
    const pubkey = required(body, "pubkey", "pubkey");
    const known = this.#colonies.get(meshId);
    if (known !== undefined && known.expiresAt > Date.now() && known.record["pubkey"] !== pubkey) {
      const message = `mesh_id ${meshId} already registered with different pubkey`;
      throw new Refusal(409, "already_exists", message);
    }
    const names = ["meshIpv4", "meshIpv6", "connectPort", "publicPort", "metadata"];
    return this.#register(this.#colonies, meshId, {
      body,
      names: ["meshId", "pubkey", ...names],
      remote,
    });
  }

  #registerAgent(body: Fields, remote: string): Fields {
    const agentId = required(body, "agentId", "agent_id");
    const meshId = required(body, "meshId", "mesh_id");
    required(body, "pubkey", "pubkey");
    const names = ["agentId", "meshId", "pubkey", "metadata"];
    return this.#register(this.#agents, `${meshId} ${agentId}`, { body, names, remote });
  }

  #register(
    records: Map<string, { record: Fields; expiresAt: number }>,
    id: string,
    { body, names, remote }: {
      readonly body: Fields;
      readonly names: readonly string[];
      readonly remote: string;
    },
  ): Fields {
    const { endpoints = [], observedEndpoint: said } = body;
    if ((endpoints as readonly unknown[]).length === 0 && said === undefined) {
      const message = "at least one endpoint or observed_endpoint is required";
      throw new Refusal(400, "invalid_argument", message);
    }
    const observedEndpoint = said ?? { ip: remote, port: 0, protocol: "udp" };
    const seconds = Math.floor(Date.now() / 1000);
    const record = {
      ...Object.fromEntries(names.map((name) => [name, body[name]])),
      endpoints,
      observedEndpoints: [observedEndpoint],
      nat: 0,
      lastSeen: { seconds: String(seconds) },
      ...(body["publicEndpoint"] !== undefined && {
        publicEndpoint: { enabled: true, caFingerprint: { algorithm: 1, value: { 0: 1, 1: 2 } } },
      }),
    };
    records.set(id, { record, expiresAt: Date.now() + 1000 * TTL_S });
    const expiresAt = { seconds: String(seconds + TTL_S) };
    return { success: true, ttl: TTL_S, expiresAt, observedEndpoint };
  }
}

function required(body: Fields, name: string, field: string): string {
  const value = body[name];
  if (typeof value === "string" && value !== "") return value;
  throw new Refusal(400, "invalid_argument", `${field} is required`);
}

function found(
  records: ReadonlyMap<string, { record: Fields; expiresAt: number }>,
  missing: string,
  id: unknown,
): Fields {
  const known = records.get(String(id));
  if (known !== undefined && known.expiresAt > Date.now()) return known.record;
  throw new Refusal(404, "not_found", missing);
}

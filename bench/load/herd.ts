/**
 * Nodes that prove their keys and sign their records, and their requests to a Discovery as they go over the wire: made
 * beforehand, so that the load costs the machine little while it is measured.
 *
 * @module
 */
import { create, type DescMessage, type MessageInitShape, toJsonString } from "@bufbuild/protobuf";
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";
import { concat, formatBase64, parseKey } from "../../core/mod.ts";
import {
  formatProof,
  NONCE_BYTES,
  PROOF_KEY_HEADER,
  PROOF_TIME_HEADER,
  proofKey,
  proofKeyId,
  proofMac,
} from "../../discovery/proof/proof.ts";
import { encodeRecord } from "../../discovery/signature/record.ts";
import { signStatement } from "../../discovery/signature/statement.ts";
import { privateCryptoKey, publicKeyOf } from "../../io/x25519.ts";
import {
  LookupColonyRequestSchema,
  PeerRole,
  RegisterAgentRequestSchema,
  RegisterColonyRequestSchema,
  SignedStatementSchema,
  WatchRequestSchema,
} from "../../proto/mod.ts";

/** What stands before the 32 bytes of a private Ed25519 key in PKCS #8 (RFC 8410 section 7). */
const PKCS8_PREFIX = Uint8Array.of(
  ...[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22],
  ...[0x04, 0x20],
);
const SERVICE_PATH = "/coral.discovery.v1.DiscoveryService";

/** A node. */
export interface HerdNode {
  /** Its mesh. */
  readonly meshId: string;
  /** Agent's id; empty for a colony. */
  readonly agentId: string;
  /** WireGuard public key, base64. */
  readonly publicKey: string;
  /** The bytes of the same. */
  readonly key: Uint8Array;
  /** The private key, which computes and does not give itself out. */
  readonly secret: CryptoKey;
  /** The body of its registration, with the record that it has signed. */
  readonly registration: Uint8Array<ArrayBuffer>;
}

/** The nodes of all meshes. */
export interface Herd {
  /** One colony of each mesh. */
  readonly colonies: readonly HerdNode[];
  /** All others. */
  readonly agents: readonly HerdNode[];
}

/** A Discovery that requests are made for. */
export interface Target {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** Its public key for proofs. */
  readonly serverKey: Uint8Array;
  /** How far its clock is ahead of ours, in milliseconds. */
  readonly aheadMs: number;
}

/** What goes over the wire. */
interface Request {
  readonly method: string;
  readonly body: Uint8Array<ArrayBuffer>;
  readonly proof?: string;
  /** @default "application/json" */
  readonly contentType?: string;
}

/** Makes nodes: `meshes` times one colony and `agents` agents. */
export async function makeHerd(
  { meshes, agents }: { readonly meshes: number; readonly agents: number },
): Promise<Herd> {
  const herd = { colonies: [] as HerdNode[], agents: [] as HerdNode[] };
  for (let mesh = 0; mesh < meshes; mesh++) {
    const meshId = `herd${mesh}`;
    herd.colonies.push(await makeNode({ meshId, agentId: "", number: 0 }));
    for (let number = 1; number <= agents; number++) {
      herd.agents.push(await makeNode({ meshId, agentId: `agent${number}`, number }));
    }
  }
  return herd;
}

/** Asks a Discovery for what proofs need. */
export async function askTarget(url: string): Promise<Target> {
  const response = await fetch(`${url}${SERVICE_PATH}/GetServerInfo`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  await response.body?.cancel();
  const serverKey = parseKey(response.headers.get(PROOF_KEY_HEADER) ?? "");
  if (serverKey === undefined) throw new Error(`${url} says no key`);
  const aheadMs = Number(response.headers.get(PROOF_TIME_HEADER)) - Date.now();
  return { host: new URL(url).host, serverKey, aheadMs };
}

/** Makes requests to one Discovery. Keeps what each node shares with it. */
export class RequestWriter {
  readonly #target: Target;
  readonly #keys = new Map<HerdNode, Uint8Array>();

  /** Requests to this Discovery. */
  constructor(target: Target) {
    this.#target = target;
  }

  /** A registration of a node, which can be made once. */
  register(node: HerdNode): Promise<Uint8Array> {
    const method = node.agentId === "" ? "RegisterColony" : "RegisterAgent";
    return this.#proven(node, { method, body: node.registration });
  }

  /** A lookup of a node's colony, which can be made again for a minute. */
  lookup(node: HerdNode): Promise<Uint8Array> {
    const body = json(LookupColonyRequestSchema, { meshId: node.meshId });
    return this.#proven(node, { method: "LookupColony", body });
  }

  /** A question for the service's health. */
  health(): Uint8Array {
    return this.#request({ method: "Health", body: new TextEncoder().encode("{}") });
  }

  /** A Watch stream of a node. */
  watch(node: HerdNode): Promise<Uint8Array> {
    const message = json(WatchRequestSchema, { meshId: node.meshId, pubkey: node.publicKey });
    const envelope = new Uint8Array(5);
    new DataView(envelope.buffer).setUint32(1, message.length);
    const body = concat(envelope, message);
    return this.#proven(node, { method: "Watch", body, contentType: "application/connect+json" });
  }

  async #proven(
    node: HerdNode,
    { method, body, contentType = "application/json" }: Omit<Request, "proof">,
  ): Promise<Uint8Array> {
    const { serverKey: server, aheadMs } = this.#target;
    let key = this.#keys.get(node);
    if (key === undefined) {
      key = await proofKey(node.secret, { node: node.key, server, other: "server" });
      if (key === undefined) throw new Error("the server's key is a weak one");
      this.#keys.set(node, key);
    }
    const issuedAtMs = Math.floor(Date.now() + aheadMs);
    const nonce = formatBase64(crypto.getRandomValues(new Uint8Array(NONCE_BYTES)));
    const mac = proofMac(key, { method, contentType, body }, { issuedAtMs, nonce });
    const { publicKey } = node;
    const proof = formatProof({ keyId: proofKeyId(server), publicKey, issuedAtMs, nonce, mac });
    return this.#request({ method, body, proof, contentType });
  }

  /** The headers are those that our client sends. */
  #request({ method, body, proof, contentType = "application/json" }: Request): Uint8Array {
    const head = [
      `POST ${SERVICE_PATH}/${method} HTTP/1.1`,
      "connect-protocol-version: 1",
      "connect-timeout-ms: 5000",
      `content-type: ${contentType}`,
      ...proof === undefined ? [] : [`moray-proof: ${proof}`],
      "accept: */*",
      "accept-language: *",
      "user-agent: Deno/2.8.3",
      "accept-encoding: gzip,br",
      `host: ${this.#target.host}`,
      `content-length: ${body.length}`,
    ];
    return concat(new TextEncoder().encode(`${head.join("\r\n")}\r\n\r\n`), body);
  }
}

/** Writes requests to a file as `http_load` reads them. */
export async function writeRequests(path: string, requests: readonly Uint8Array[]): Promise<void> {
  const parts = requests.flatMap((request) => {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, request.length, true);
    return [length, request];
  });
  await Deno.writeFile(path, concat(...parts));
}

/**
 * Makes a node. Its key comes from an Ed25519 key whose point has the sign 0, as XEdDSA signatures are Ed25519 ones for such a
 * point: so 10,000 records are signed natively, in a second, and with the node's own key.
 */
async function makeNode(
  { meshId, agentId, number }: {
    readonly meshId: string;
    readonly agentId: string;
    readonly number: number;
  },
): Promise<HerdNode> {
  const { seed, signer } = signingSeed();
  const scalar = Uint8Array.from(createHash("sha512").update(seed).digest().subarray(0, 32));
  const key = await publicKeyOf(scalar);
  const secret = await privateCryptoKey(scalar);
  const publicKey = formatBase64(key);
  const isColony = agentId === "";
  const common = {
    pubkey: publicKey,
    meshId,
    name: isColony ? "colony" : agentId,
    endpoints: [`192.0.2.${1 + number % 250}:51820`, `10.0.${number >> 8}.${number & 255}:51820`],
    observedEndpoints: [{ ip: `198.51.100.${1 + number % 250}`, port: 40_000, protocol: "udp" }],
    meshIpv6: `fd00::${(number + 1).toString(16)}`,
  };
  const role = isColony ? PeerRole.COLONY : PeerRole.AGENT;
  const bytes = encodeRecord({ ...common, role, agentId }, Date.now());
  const signed = await signStatement(signer, "record", bytes);
  const statement = create(SignedStatementSchema, {
    statement: bytes,
    signature: signed.signature,
  });
  const registration = isColony
    ? json(RegisterColonyRequestSchema, { ...common, statement, connectPort: 9000 })
    : json(RegisterAgentRequestSchema, { ...common, agentId, statement });
  return { meshId, agentId, publicKey, key, secret, registration };
}

function signingSeed(): {
  readonly seed: Uint8Array<ArrayBuffer>;
  readonly signer: { sign(message: Uint8Array): Promise<Uint8Array<ArrayBuffer>> };
} {
  for (;;) {
    const seed = crypto.getRandomValues(new Uint8Array(32));
    const der = concat(PKCS8_PREFIX, seed);
    // deno-lint-ignore no-explicit-any -- node's types want a Buffer where any bytes will do
    const privateKey = createPrivateKey({ key: der as any, format: "der", type: "pkcs8" });
    const { x = "" } = createPublicKey(privateKey).export({ format: "jwk" });
    // The last of 32 bytes: its highest bit is the sign.
    const point = Uint8Array.fromBase64(x, { alphabet: "base64url" });
    if (((point[31] ?? 0) & 0x80) !== 0) continue;
    const signer = {
      sign: (message: Uint8Array) =>
        Promise.resolve(Uint8Array.from(sign(null, message, privateKey))),
    };
    return { seed, signer };
  }
}

function json<T extends DescMessage>(
  schema: T,
  init: MessageInitShape<T>,
): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(toJsonString(schema, create(schema, init)));
}

/**
 * A day of Discovery in minutes: the real service over a real store, by a clock that only this file moves.
 *
 * Nodes prove their keys, refresh, change their addresses, leave with or without a word, and others come in their place; the service is
 * stopped and started again on the same store. At the end everybody leaves, and the time passes after which mesh ids are free again.
 *
 * @module
 */
import { formatBase64, parseKey } from "../../core/mod.ts";
import {
  formatProof,
  NONCE_BYTES,
  PROOF_HEADER,
  proofKey,
  proofKeyId,
  proofMac,
} from "../../discovery/proof/proof.ts";
import { HttpHandler } from "../../discovery/service/http.ts";
import { ProofChecker } from "../../discovery/service/proof_checker.ts";
import { Service } from "../../discovery/service/service.ts";
import { openStore } from "../../discovery/store/open_store.ts";
import { MESH_LIFE_MS, type Store } from "../../discovery/store/store.ts";
import { freshIdentity } from "../../discovery/testing/identity.ts";

const MINUTE_MS = 60_000;
/** An hour in milliseconds. */
export const HOUR_MS = 60 * MINUTE_MS;
const START = 1_700_000_000_000;
const PATH = "http://127.0.0.1/coral.discovery.v1.DiscoveryService";
/** Nodes of one mesh, its colony first. */
const PER_MESH = 50;

/** What kind of day it is. */
export interface LifeOptions {
  /** Where the store is, as `--store` says it. */
  readonly store: string;
  /** Nodes at any time. */
  readonly nodes: number;
  /** Length in hours. */
  readonly hours: number;
  /** Life of a registration; nodes refresh three times as often. */
  readonly ttlMs: number;
  /** Chance that a node ends at one of its refreshes; another comes in its place. */
  readonly churn: number;
  /** Hours at whose beginning the service is stopped and started again. */
  readonly restartHours: readonly number[];
  /** Called once an hour of that day, after what the hour did. */
  readonly onHour: (hour: number) => void | Promise<void>;
}

/** What the day came to. */
export interface LifeReport {
  /** Calls that were answered, all of them well. */
  readonly calls: number;
  /** Nodes that there were. */
  readonly nodes: number;
  /** Starts of the service. */
  readonly starts: number;
}

interface LivingNode {
  readonly meshId: string;
  readonly agentId: string;
  readonly identity: Awaited<ReturnType<typeof freshIdentity>>;
  port: number;
  refreshAt: number;
  /** What it shares with the server, whose key outlives its restarts. */
  proofKey: Uint8Array | undefined;
}

/** Lives it. Rejects where an answer is not what it has to be. */
export async function live(options: LifeOptions): Promise<LifeReport> {
  return await new Life(options).run();
}

class Life {
  readonly #options: LifeOptions;
  readonly #nodes: LivingNode[] = [];
  #now = START;
  #made = 0;
  #calls = 0;
  #starts = 0;
  #store: Store | undefined;
  #service: Service | undefined;
  #handler: HttpHandler | undefined;
  #serverKey = new Uint8Array(32);

  constructor(options: LifeOptions) {
    this.#options = options;
  }

  async run(): Promise<LifeReport> {
    const { hours, restartHours, nodes, ttlMs, churn, onHour } = this.#options;
    await this.#start();
    for (let i = 0; i < nodes; i++) await this.#join(i);
    for (let minute = 1; minute <= hours * 60; minute++) {
      this.#now += MINUTE_MS;
      if (restartHours.includes(minute / 60)) await this.#restart();
      for (const [i, node] of this.#nodes.entries()) {
        if (node.refreshAt > this.#now) continue;
        // Chance without chance: the same day every time.
        const lot = (Math.imul(this.#calls, 2654435761) >>> 0) / 2 ** 32;
        const isColony = node.agentId === "";
        if (!isColony && lot < churn) {
          if (lot < churn / 2) await this.#leave(node);
          await this.#join(i);
          continue;
        }
        if (lot > 0.9) node.port = 1024 + node.port % 60_000;
        await this.#register(node);
      }
      await this.#service?.sweep();
      if (minute % 60 === 0) await onHour(minute / 60);
    }
    for (const node of this.#nodes) if (node.port % 2 === 0) await this.#leave(node);
    this.#now += ttlMs + 5 * MINUTE_MS;
    await this.#service?.sweep();
    this.#now += MESH_LIFE_MS;
    await this.#service?.sweep();
    await onHour(hours + 1);
    await this.#stop();
    return { calls: this.#calls, nodes: this.#made, starts: this.#starts };
  }

  async #start(): Promise<void> {
    const log = (): void => {};
    const now = (): number => this.#now;
    const store = await openStore(this.#options.store, { log });
    const freshKey = crypto.getRandomValues(new Uint8Array(32));
    const service = new Service({
      store,
      ttlMs: this.#options.ttlMs,
      heartbeatMs: 15_000,
      stun: [],
      version: "",
      now,
      randomId: () => crypto.randomUUID(),
      log,
    });
    const proofs = await ProofChecker.open({ store, now, freshKey });
    this.#serverKey = parseKey(proofs.publicKey) ?? this.#serverKey;
    this.#handler = new HttpHandler({ service, proofs, now, log });
    this.#store = store;
    this.#service = service;
    this.#starts++;
  }

  async #stop(): Promise<void> {
    this.#service?.close();
    await this.#store?.close();
  }

  async #restart(): Promise<void> {
    await this.#stop();
    await this.#start();
  }

  /** Lets a node take a place; the first of each mesh is its colony. */
  async #join(place: number): Promise<void> {
    const mesh = Math.floor(place / PER_MESH);
    const node: LivingNode = {
      meshId: `mesh${mesh}`,
      agentId: place % PER_MESH === 0 ? "" : `agent${++this.#made}`,
      identity: await freshIdentity(),
      port: 1024 + place % 60_000,
      refreshAt: 0,
      proofKey: undefined,
    };
    this.#nodes[place] = node;
    await this.#register(node);
  }

  async #register(node: LivingNode): Promise<void> {
    const { meshId, agentId, port } = node;
    const common = { meshId, pubkey: node.identity.text, endpoints: [`192.0.2.1:${port}`] };
    if (agentId === "") await this.#call(node, "RegisterColony", common);
    else await this.#call(node, "RegisterAgent", { ...common, agentId });
    const jitter = (this.#calls % 7) * 1000;
    node.refreshAt = this.#now + this.#options.ttlMs / 3 - jitter;
  }

  async #leave(node: LivingNode): Promise<void> {
    const words = { meshId: node.meshId, pubkey: node.identity.text };
    await this.#call(node, node.agentId === "" ? "DeregisterColony" : "DeregisterAgent", words);
  }

  async #call(node: LivingNode, method: string, words: unknown): Promise<void> {
    const body = new TextEncoder().encode(JSON.stringify(words));
    const contentType = "application/json";
    const { publicKey: key, secret, text: publicKey } = node.identity;
    const server = this.#serverKey;
    const shared = node.proofKey ??= await proofKey(secret, { node: key, server, other: "server" });
    if (shared === undefined) throw new Error("no key");
    const nonce = formatBase64(crypto.getRandomValues(new Uint8Array(NONCE_BYTES)));
    const issuedAtMs = this.#now;
    const mac = proofMac(shared, { method, contentType, body }, { issuedAtMs, nonce });
    const keyId = proofKeyId(this.#serverKey);
    const request = new Request(`${PATH}/${method}`, {
      method: "POST",
      headers: {
        "content-type": contentType,
        [PROOF_HEADER]: formatProof({ keyId, publicKey, issuedAtMs, nonce, mac }),
      },
      body,
    });
    // Everybody is somewhere else, as the limits are per address.
    const hostname = `10.${this.#calls >> 16 & 255}.${this.#calls >> 8 & 255}.${this.#calls & 255}`;
    this.#calls++;
    const response = await this.#handler?.handle(request, { hostname, port: 4711 });
    if (response?.status !== 200) throw new Error(`${method}: ${await response?.text()}`);
    await response.body?.cancel();
  }
}

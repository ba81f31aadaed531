/** The main thread's part in STUN: which servers a node asks, and what it signs with. @module */
import {
  formatSocketAddress,
  messageOf,
  type MorayError,
  parseSocketAddress,
} from "../core/mod.ts";
import type { StunCredentials } from "../traversal/mod.ts";
import type { MemberKeys } from "./member_keys.ts";
import { type ExaminedFamilies, NodeNetcheck } from "./netcheck/node_netcheck.ts";
import type { Log } from "./options.ts";
import type { CandidateInfo, CommandBody, StunServerInfo } from "./shared/mod.ts";
import {
  PUBLIC_STUN_SERVER,
  resolveFirstServers,
  resolveStunServers,
  type StunServer,
} from "./stun_servers.ts";

/** A Discovery whose STUN servers take none of its credentials is asked for others this seldom. */
const REFRESH_EVERY_MS = 60_000;

/** Options of {@linkcode NodeStun}. */
export interface NodeStunOptions {
  /** Servers of the configuration, `host:port`. */
  readonly configured: readonly string[];
  /** Makes the credentials between nodes. */
  readonly keys: Promise<MemberKeys>;
  /** Sends a command to the datapath; failures are the sender's to report. */
  readonly send: (command: CommandBody) => void;
  /** Has Discovery asked again what it names, and {@linkcode NodeStun.setDiscovery} called with that. */
  readonly refresh: () => Promise<unknown>;
  /** Servers that are asked where none of the others answers, `host:port`. @default the public one */
  readonly fallback?: readonly string[];
  /** Least time between two questions for credentials in the place of refused ones, in milliseconds. @default 60000 */
  readonly refreshEveryMs?: number;
  /** Where the log goes. */
  readonly log: Log;
  /** Ends everything. */
  readonly signal: AbortSignal;
}

/** Chooses STUN servers in the order: configuration or Discovery, then the public default where none of them answers. */
export class NodeStun {
  readonly #options: NodeStunOptions;
  #servers: readonly StunServer[] = [];
  #fallback: Promise<readonly StunServer[]> | undefined;
  readonly #netcheck: NodeNetcheck;
  /** Runs while new credentials have been asked for lately. */
  #refreshing: ReturnType<typeof setTimeout> | undefined;
  /** Peers that the datapath has been told of. */
  readonly #peers = new Set<string>();

  /** Knows no server yet. */
  constructor(options: NodeStunOptions) {
    this.#options = options;
    this.#netcheck = new NodeNetcheck(options);
    options.signal.addEventListener("abort", () => clearTimeout(this.#refreshing), { once: true });
  }

  /** What was found out about the network beyond the node's own socket. */
  get families(): ExaminedFamilies {
    return this.#netcheck.families;
  }

  /** Takes the node's candidates: where it is seen tells whether it is in another network. */
  handleCandidates(candidates: readonly CandidateInfo[], mapping: string): void {
    const seen = candidates.filter(({ kind }) => kind === "serverReflexive" || kind === "host")
      .map(({ address }) => parseSocketAddress(address)?.hostname ?? "");
    this.#netcheck.handleAddresses(seen, mapping);
  }

  /** A peer is connected. */
  handleConnected(): void {
    this.#netcheck.handleConnected();
  }

  /** The links are others. */
  handleLinkChanged(): void {
    this.#netcheck.handleLinkChanged();
  }

  /** Takes what Discovery names. Returns whether there is any server to ask now. */
  async setDiscovery(
    { stunServers: discovery, stunCredentials: credentials }: {
      readonly stunServers: readonly string[];
      readonly stunCredentials: StunCredentials | undefined;
    },
  ): Promise<boolean> {
    const { configured } = this.#options;
    const sources = { configured, discovery, credentials };
    this.#servers = await resolveFirstServers(sources, this.#complain);
    this.#send(this.#servers);
    // Nobody else will say that there is nobody to ask.
    if (this.#servers.length === 0) this.handleSilence();
    return this.#servers.length > 0;
  }

  /** Discovery names nothing, since it does not answer: what is configured is asked all the same, or the public one. */
  handleNoDiscovery(): void {
    if (this.#servers.length > 0 || this.#fallback !== undefined) return;
    void this.setDiscovery({ stunServers: [], stunCredentials: undefined });
  }

  /** A server does not take the credentials that Discovery gave: Discovery is asked for others, now and then. */
  handleRefused(): void {
    const { refresh, log, signal, refreshEveryMs = REFRESH_EVERY_MS } = this.#options;
    if (this.#refreshing !== undefined || signal.aborted) return;
    log("debug", "a STUN server does not take its credentials: asking Discovery for others");
    this.#refreshing = setTimeout(() => this.#refreshing = undefined, refreshEveryMs);
    Deno.unrefTimer(this.#refreshing);
    void refresh().catch((error) => log("debug", `STUN credentials: ${messageOf(error)}`));
  }

  /** No server answers: the public one is asked too. */
  handleSilence(): void {
    const { log, signal, fallback = [PUBLIC_STUN_SERVER] } = this.#options;
    if (this.#fallback !== undefined || signal.aborted) return;
    log("info", `no STUN server answers: asking ${fallback.join(", ")} too`);
    this.#fallback = resolveStunServers(fallback, {
      origin: "default",
      onError: this.#complain,
    });
    void this.#fallback.then((servers) => {
      if (signal.aborted) return;
      // A name that could not be resolved may be later.
      if (servers.length === 0) this.#fallback = undefined;
      else this.#send([...this.#servers, ...servers]);
    });
  }

  /** Gives the datapath what this node and a new peer sign their requests to each other with. */
  introduce(publicKey: string): void {
    const { keys, send, log, signal } = this.#options;
    this.#peers.add(publicKey);
    void keys.then((known) => known.with(publicKey)).then((credentials) => {
      if (credentials === undefined) log("debug", "no STUN with a peer: its key is weak");
      else if (!signal.aborted && this.#peers.has(publicKey)) {
        send({ kind: "setMember", publicKey, ...credentials });
      }
    });
  }

  /** The datapath has been told that the peer is gone: nothing more is said of it. */
  forget(publicKey: string): void {
    this.#peers.delete(publicKey);
  }

  readonly #complain = ({ message }: MorayError): void => {
    this.#options.log("warn", `STUN: ${message}`);
  };

  #send(servers: readonly StunServer[]): void {
    this.#netcheck.setServers(servers);
    this.#options.send({ kind: "setStunServers", servers: servers.map(infoOf) });
  }
}

function infoOf({ address, origin, credentials }: StunServer): StunServerInfo {
  return { address: formatSocketAddress(address), origin, ...credentials && { credentials } };
}

/**
 * Examines the network of a running node: what its NAT does, once after the start and after each change of the network.
 *
 * ```text
 *   an address by STUN --3 s--> NatProbe --> verdict to the datapath --> LifetimeProbe --> keepalive to the datapath
 *          ^                                                                  |
 *          +------------- links or the public address have changed -----------+
 * ```
 *
 * It uses two sockets of its own for each family: a filter shows only on a mapping that nothing else has opened. It waits until the
 * first connections have been made, which matter more; longest where the NAT may map by destination, so that each of its questions
 * takes an outside port, and a peer may be about to guess the next one.
 *
 * @module
 */
import { messageOf } from "../../core/mod.ts";
import { keepaliveFor } from "../../traversal/mod.ts";
import type { Log } from "../options.ts";
import type { CommandBody } from "../shared/mod.ts";
import type { StunServer } from "../stun_servers.ts";
import { type FamilyReport, familyReport } from "./report.ts";

/** Options of {@linkcode NodeNetcheck}. */
export interface NodeNetcheckOptions {
  /** Sends a command to the datapath; failures are the sender's to report. */
  readonly send: (command: CommandBody) => void;
  /** Where the log goes. */
  readonly log: Log;
  /** Ends everything. */
  readonly signal: AbortSignal;
  /** Has Discovery asked for its servers and new credentials, which end; before each examination but the first. May fail. */
  readonly refresh: () => Promise<unknown>;
  /** How long to wait before an examination, in milliseconds. @default 3000 */
  readonly delayMs?: number;
}

/** What is known of both families; absent where nothing is. */
export interface ExaminedFamilies {
  /** IPv4. */
  readonly ipv4?: FamilyReport;
  /** IPv6. */
  readonly ipv6?: FamilyReport;
}

const DELAY_MS = 3000;
/** Times longer that a node waits for its first peer behind a NAT that may map by destination. */
const PATIENCE = 10;

/** Keeps the verdict on a node's NAT up to date. */
export class NodeNetcheck {
  readonly #options: NodeNetcheckOptions;
  #servers: readonly StunServer[] = [];
  /** Public addresses by STUN, as one text. */
  #seenAs = "";
  /** Whether a peer has been connected since the last change of links. */
  #connected = false;
  /** Whether there has been an examination. */
  #examined = false;
  /** Whether to wait longer. */
  #patient = false;
  /** Whether an examination is to come. */
  #waiting = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: AbortController | undefined;
  #families: ExaminedFamilies = {};

  /** Waits for servers and a first address. */
  constructor(options: NodeNetcheckOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => this.#breakOff(), { once: true });
  }

  /** What the last examination found, as far as it has come. */
  get families(): ExaminedFamilies {
    return this.#families;
  }

  /** The servers that may be asked from now on. */
  setServers(servers: readonly StunServer[]): void {
    this.#servers = servers;
  }

  /** The node is seen at these public addresses: other ones than before mean another network. */
  handleAddresses(hostnames: readonly string[], mapping: string): void {
    const patient = mapping !== "endpointIndependent" && !this.#connected;
    const waitsLonger = this.#waiting && patient && !this.#patient;
    this.#patient = patient;
    const seenAs = [...new Set(hostnames)].sort().join(" ");
    const changed = seenAs !== this.#seenAs && seenAs !== "";
    if (changed) this.#seenAs = seenAs;
    if (changed || waitsLonger) this.#soon();
  }

  /** A peer is connected: nobody has to guess any more. */
  handleConnected(): void {
    this.#connected = true;
    if (!this.#waiting || !this.#patient) return;
    this.#patient = false;
    this.#soon();
  }

  /** The links are others: nothing that was found counts any more. */
  handleLinkChanged(): void {
    this.#families = {};
    this.#connected = false;
    this.#options.send({ kind: "setProbed" });
    if (this.#seenAs !== "") this.#soon();
  }

  #soon(): void {
    const { delayMs = DELAY_MS, signal } = this.#options;
    this.#breakOff();
    if (signal.aborted) return;
    this.#waiting = true;
    const waitMs = this.#patient ? PATIENCE * delayMs : delayMs;
    this.#timer = setTimeout(() => void this.#run(), waitMs);
    Deno.unrefTimer(this.#timer);
  }

  #breakOff(): void {
    clearTimeout(this.#timer);
    this.#waiting = false;
    this.#running?.abort(new DOMException("The network has changed", "AbortError"));
    this.#running = undefined;
  }

  async #run(): Promise<void> {
    const { log, send } = this.#options;
    const running = this.#running = new AbortController();
    const { signal } = running;
    this.#waiting = false;
    try {
      if (this.#examined) await this.#options.refresh().catch(() => {});
      this.#examined = true;
      signal.throwIfAborted();
      const { examine, measureLifetime, survey } = await import("./examine.ts");
      const surveyed = await survey(this.#servers, signal);
      const [ipv4, ipv6] = await Promise.all([
        examine(4, surveyed, signal),
        examine(6, surveyed, signal),
      ]);
      this.#families = { ipv4: ipv4.report, ipv6: ipv6.report };
      // The verdict is about IPv4, the family that has NATs, where there is one.
      const judged = ipv4.nat === undefined ? ipv6 : ipv4;
      if (judged.nat === undefined) return;
      const { mapping, filtering, hint } = judged.nat.facts;
      log("debug", "the NAT was examined", { mapping, filtering, hint });
      send({ kind: "setProbed", nat: judged.nat.facts });
      const lifetime = await measureLifetime(judged, signal);
      if (lifetime === undefined) return;
      const report = familyReport(judged.nat, lifetime);
      this.#families = { ...this.#families, [judged === ipv4 ? "ipv4" : "ipv6"]: report };
      const keepaliveMs = keepaliveFor(lifetime);
      log("debug", "the life of idle mappings was measured", { ...report.lifetime, keepaliveMs });
      send({ kind: "setProbed", nat: judged.nat.facts, keepaliveMs });
    } catch (error) {
      if (!signal.aborted) log("debug", `examining the network: ${messageOf(error)}`);
    }
  }
}

/**
 * `--offer-relay`: a node that relays for the other nodes of its mesh while it has a public address.
 *
 * ```text
 *   candidates --addresses--> relay, in a Worker of its own --report--> Discovery, which looks whether it can be reached
 *        |  others                     |                                     |
 *        +------> another relay        +--- nodes of the mesh <--offered-----+
 * ```
 *
 * The relay is another program's that the node is given: it knows a secret that was made for it alone, the tag of the mesh, and no key.
 *
 * @module
 */
import { formatBase64, messageOf, type SocketAddress } from "../core/mod.ts";
import {
  type Identity,
  meshTag,
  type RelayReporterOptions,
  type RelayStanding,
  type RunningRelayReporter,
  startRelayReporter,
  volunteerId,
} from "../discovery/mod.ts";
import { systemRng } from "../io/mod.ts";
import type { Log } from "./options.ts";
import { offeredAddresses } from "./relay_offer_address.ts";
import type { OfferedRelay, RelayOfferOptions } from "./relay_offer_options.ts";
import type { CandidateInfo } from "./shared/mod.ts";
import type { RelayOfferStatus } from "./status.ts";

/** What all that a volunteer relays may take in a second, both ways, where nobody says: a megabyte. */
export const OFFER_BYTES_PER_SECOND = 1_000_000;
/** Nodes that it serves at once. */
export const OFFER_SESSIONS_MAX = 16;
const SECRET_BYTES = 32;
const REALM = "moray";
/** Addresses come one after another when links change. */
const SETTLE_MS = 1000;
/** After a relay that did not start, or has died. */
const RETRY_MS = 30_000;
/** How long nodes have to move to another relay. */
const DRAIN_MS = 500;

/** Options of {@linkcode RelayOffer}. */
export interface RelayOfferParts {
  /** What to offer. */
  readonly offerRelay: RelayOfferOptions;
  /** Mesh id. */
  readonly mesh: string;
  /** The node's key, base64. */
  readonly publicKey: string;
  /** The same, as the node proves it to Discovery. */
  readonly keys: Identity;
  /** Discovery's URLs: each is told. */
  readonly discovery: readonly string[];
  /** A fixed public endpoint. */
  readonly publicEndpoint?: SocketAddress;
  /** Where the log goes. */
  readonly log: Log;
  /** Makes the relay known; for tests. @default startRelayReporter */
  readonly startReporter?: (options: RelayReporterOptions) => Promise<RunningRelayReporter>;
}

/** A relay that runs. */
interface Running {
  readonly addresses: string;
  readonly relay: OfferedRelay;
  readonly reporter: RunningRelayReporter;
}

/** What one node offers. */
export class RelayOffer {
  readonly #parts: RelayOfferParts;
  #addresses: readonly string[] = [];
  #running: Running | undefined;
  #registered = false;
  /** The node's own port of WireGuard, which clients of the relay may send to; `undefined` before there is one. */
  #wgPort: number | undefined;
  /** By Discovery's URL. */
  readonly #standings = new Map<string, RelayStanding>();
  #failure: string | undefined;
  #sessions = 0;
  #rxBytes = 0;
  #txBytes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Starts and stops come one after another. */
  #last: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;

  /** Offers nothing until it is told of candidates. */
  constructor(parts: RelayOfferParts) {
    this.#parts = parts;
  }

  /** An offer, if there is one to make. */
  static of(
    { offerRelay, ...parts }: Omit<RelayOfferParts, "offerRelay"> & {
      readonly offerRelay?: RelayOfferOptions;
    },
  ): RelayOffer | undefined {
    return offerRelay && new RelayOffer({ ...parts, offerRelay });
  }

  /** What is offered, and what came of it. */
  get status(): RelayOfferStatus {
    const { relay } = this.#running ?? {};
    const standings = [...this.#standings.values()];
    const offered = standings.some((standing) => standing.offered);
    return {
      id: volunteerId({ meshId: this.#parts.mesh, publicKey: this.#parts.publicKey }),
      offered,
      reason: offered ? null : this.#reason(standings),
      addresses:
        relay?.transports.filter(({ kind }) => kind === "udp").map((one) => one.endpoint) ?? [],
      sessions: this.#sessions,
      rxBytes: this.#rxBytes,
      txBytes: this.#txBytes,
    };
  }

  /** The node's sockets are open, that of WireGuard on this port. */
  start(wgPort: number): void {
    this.#wgPort = wgPort;
    this.#change(0);
  }

  /** The node is registered: from now on Discovery takes its reports. */
  registered(): void {
    if (this.#registered) return;
    this.#registered = true;
    this.#change(0);
  }

  /** These are the node's candidates now. */
  setCandidates(candidates: readonly CandidateInfo[]): void {
    const { publicEndpoint, offerRelay: { allowPrivatePeers = false } } = this.#parts;
    const addresses = offeredAddresses(candidates, {
      ...(publicEndpoint && { publicEndpoint }),
      allowPrivate: allowPrivatePeers,
    });
    if (addresses.join() === this.#addresses.join()) return;
    this.#addresses = addresses;
    this.#change(SETTLE_MS);
  }

  /** Withdraws the offer and ends the relay. Never rejects. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#last;
    await this.#end();
  }

  #reason(standings: readonly RelayStanding[]): string {
    if (this.#failure !== undefined) return this.#failure;
    if (this.#addresses.length === 0) return "this node has no public address";
    if (!this.#registered) return "this node is not registered yet";
    return standings.find(({ reason }) => reason !== "")?.reason ??
      "Discovery has not answered yet";
  }

  /** Has the relay started, ended, or started anew at other addresses, once things have settled. */
  #change(waitMs: number): void {
    const ready = this.#registered && this.#wgPort !== undefined;
    if (!ready || this.#stopping !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#last = this.#last.then(() => this.#adapt());
    }, waitMs);
    Deno.unrefTimer(this.#timer);
  }

  async #adapt(): Promise<void> {
    const addresses = this.#addresses;
    if (this.#stopping !== undefined || addresses.join() === this.#running?.addresses) return;
    await this.#end();
    if (addresses.length === 0) return;
    const { log } = this.#parts;
    try {
      this.#running = await this.#start(addresses);
      this.#failure = undefined;
      log("info", "this node offers itself as a relay", {
        addresses: this.#running.relay.listening.join(" "),
      });
      this.#watch(this.#running);
    } catch (error) {
      this.#fail(messageOf(error));
    }
  }

  async #start(addresses: readonly string[]): Promise<Running> {
    const { offerRelay: offer, mesh, publicKey, keys, log, discovery } = this.#parts;
    const { startReporter = startRelayReporter } = this.#parts;
    const { bytesPerSecond = OFFER_BYTES_PER_SECOND, sessionsMax = OFFER_SESSIONS_MAX } = offer;
    const node = { meshId: mesh, publicKey };
    const secret = formatBase64(systemRng.bytes(SECRET_BYTES));
    const relay = await offer.start({
      port: offer.port ?? 0,
      externalIps: addresses,
      secret,
      realm: REALM,
      onlyMesh: meshTag(mesh),
      ownPorts: this.#wgPort === undefined ? [] : [this.#wgPort],
      allowPrivatePeers: offer.allowPrivatePeers ?? false,
      bytesPerSecond,
      sessionsMax,
      ...(offer.portRange && { portRange: offer.portRange }),
      log,
    });
    try {
      const reporter = await startReporter({
        urls: discovery,
        identity: {
          id: volunteerId(node),
          region: "",
          transports: relay.transports,
          realm: REALM,
          bandwidthBytesPerSecond: bytesPerSecond,
        },
        secret,
        volunteer: node,
        keys,
        report: () => this.#report(relay),
        revoke: (sessions) => relay.revoke(sessions),
        onStanding: (url, standing) => this.#stand(url, standing),
        log: (level, message, fields) => log(level === "warn" ? "debug" : level, message, fields),
      });
      return { addresses: addresses.join(), relay, reporter };
    } catch (error) {
      await relay.stop();
      throw error;
    }
  }

  async #report(relay: OfferedRelay): ReturnType<OfferedRelay["report"]> {
    const report = await relay.report();
    this.#sessions = report.sessions;
    for (const { rxBytes, txBytes } of report.usage) {
      this.#rxBytes += rxBytes;
      this.#txBytes += txBytes;
    }
    return report;
  }

  /** Somebody was thrown out of the mesh: Discovery is asked which sessions ended with that. Never rejects. */
  async handleExpelled(): Promise<void> {
    const reporter = this.#running?.reporter;
    // One that is under way may have been answered before.
    await reporter?.report();
    await reporter?.report();
  }

  #stand(url: string, standing: RelayStanding): void {
    this.#standings.set(url, standing);
    const { log } = this.#parts;
    if (standing.offered) log("info", "nodes of the mesh are sent to this relay", { url });
    else if (this.#stopping === undefined) {
      log("warn", `nobody is sent to this node's relay: ${standing.reason}`, { url });
    }
  }

  /** A relay that dies is started again. */
  #watch(running: Running): void {
    running.relay.finished.catch((error) => {
      if (this.#running !== running || this.#stopping !== undefined) return;
      this.#last = this.#last.then(() => this.#end()).then(() => this.#fail(messageOf(error)));
    });
  }

  #fail(reason: string): void {
    this.#failure = reason;
    this.#parts.log("warn", `this node is no relay: ${reason}`);
    this.#change(RETRY_MS);
  }

  /** Says goodbye, and ends the relay. Never rejects. */
  async #end(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    this.#sessions = 0;
    this.#standings.clear();
    // The last report needs the relay.
    const ends = await Promise.allSettled([
      running.reporter.stop(),
      running.relay.drain(DRAIN_MS),
    ]);
    this.#standings.clear();
    for (const end of ends) {
      if (end.status === "rejected") {
        this.#parts.log("debug", `stopping the relay: ${messageOf(end.reason)}`);
      }
    }
    await running.relay.stop().catch(() => {});
  }
}

/**
 * Keeps one UDP port mapped by PCP (RFC 6887), or by NAT-PMP (RFC 6886) where the gateway speaks only that.
 *
 * ```text
 *             answer                      half of the lifetime: renewed; every minute: does the gateway remember?
 *   asking -----------> mapped ----------------------------------------+
 *    |  ^                 |  ^-----------------------------------------+
 *    |  |                 | the gateway's clock has jumped (it has lost our mapping), or the mapping has expired
 *    |  +-----------------+
 *    | refused, or silence
 *    v
 *  resting --30 s to 30 min--> asking          release(): any ----> releasing ----> released
 * ```
 *
 * Both protocols are asked on the same port of the gateway, and told apart by the first byte of the answer. PCP goes first;
 * a NAT-PMP gateway refuses it with its own version, or is silent, and then gets NAT-PMP's requests too.
 *
 * Whoever shares our link can forge what the gateway says. A forged answer must carry the nonce (PCP), and a forged clock
 * makes us send one request more, at most one every {@linkcode RECREATE_MS_MIN}.
 *
 * @module
 */
import {
  after,
  assert,
  type Datagram,
  earlier,
  type Instant,
  type Machine,
  type Rng,
  sameAddress,
  type SocketAddress,
  type Transmit,
} from "../../core/mod.ts";
import { EpochClock } from "./epoch.ts";
import {
  LIFETIME_SECONDS_MAX,
  LIFETIME_SECONDS_MIN,
  MAPPING_LIFETIME_SECONDS,
  type MappingEvent,
  type PortMapping,
} from "./mapping.ts";
import {
  decodeNatPmp,
  encodeNatPmpAddress,
  encodeNatPmpMap,
  NAT_PMP_UNSUPPORTED_VERSION,
  natPmpReason,
  type NatPmpResponse,
} from "./nat_pmp.ts";
import {
  decodePcp,
  encodePcpAnnounce,
  encodePcpMap,
  isAboutMapping,
  isUnspecified,
  PCP_NONCE_BYTES,
  PCP_RESULT,
  PCP_VERSION,
  pcpReason,
  type PcpResponse,
  PORT_CONTROL_PORT,
} from "./pcp.ts";

/** Options of {@linkcode PortControl}. */
export interface PortControlOptions {
  /** The gateway's address on our side, a canonical literal of the family to map. */
  readonly gateway: string;
  /** Our address as the gateway sees it, a canonical literal. */
  readonly client: string;
  /** Our UDP port. */
  readonly internalPort: number;
  /** Entropy for the nonce and for spreading requests. */
  readonly rng: Rng;
}

/** Least time between two requests that somebody else has caused. */
export const RECREATE_MS_MIN = 5_000;

type Language = "pcp" | "nat-pmp";
type Step = readonly [afterMs: number, language: Language];

/** While nobody knows what the gateway speaks. Each protocol on the schedule of its own RFC. */
const ASK_EITHER: readonly Step[] = [
  [0, "pcp"],
  [1000, "nat-pmp"],
  [1250, "nat-pmp"],
  [1750, "nat-pmp"],
  [2750, "nat-pmp"],
  [3000, "pcp"],
  [4750, "nat-pmp"],
  [9000, "pcp"],
];
/** RFC 6887 section 8.1.1: 3 s, doubled. Given up early, since resting asks again. */
const ASK_PCP: readonly Step[] = [[0, "pcp"], [3000, "pcp"], [9000, "pcp"], [21_000, "pcp"]];
/** RFC 6886 section 3.1: 250 ms, doubled. */
const ASK_NAT_PMP: readonly Step[] = [0, 250, 750, 1750, 3750, 7750, 15_750]
  .map((ms) => [ms, "nat-pmp"]);
/** How long the last request may take. */
const LAST_WAIT_MS = 4000;
/** Between two looks at the gateway's clock. A lost mapping is made again after at most this. */
const CHECK_MS = 60_000;
/** RFC 6887 section 11.2.1: no two renewals within this. */
const RENEW_MS_MIN = 4_000;
/** RFC 6887 section 14.1.3: after an announcement all hosts of a network would ask at once. */
const ANNOUNCED_MS_MAX = 5_000;
/** RFC 6887 section 7.4: a short error lasts 30 s, a long one 30 min. */
const REST_MS = 30_000;
const REST_MS_MAX = 1_800_000;
/** A gateway that is silent is nearly always one that speaks neither. */
const SILENT_REST_MS = 120_000;
/** When the deletion is sent again, and when nobody waits for its answer any more. */
const RELEASE_MS: readonly number[] = [0, 150, 450];
const RELEASE_END_MS = 750;

/** Asks one gateway for one port. */
export class PortControl implements Machine<MappingEvent> {
  readonly #options: PortControlOptions;
  readonly #server: SocketAddress;
  readonly #nonce: Uint8Array;
  #phase: "asking" | "mapped" | "resting" | "releasing" | "released" = "asking";
  #language: Language | undefined;
  #clock = new EpochClock();
  /** When the phase began, and how many of its requests have gone. */
  #since: Instant;
  #sent = 0;
  /** When to act in `asking` and `resting` and `releasing`. */
  #dueAt: Instant | undefined;
  #renewAt: Instant | undefined;
  #checkAt: Instant | undefined;
  #mapping: PortMapping | undefined;
  /** What the last mapping was, to be had again. */
  #suggested: SocketAddress | undefined;
  /** The two halves of NAT-PMP's answer. */
  #address: string | undefined;
  #mapped: { readonly port: number; readonly lifetime: number } | undefined;
  #failures = 0;
  #recreatedAt: Instant | undefined;
  /** Whether a request has gone that may have made a mapping. */
  #asked = false;
  readonly #transmits: Uint8Array[] = [];
  readonly #events: MappingEvent[] = [];
  #ignored = 0;

  /** Starts asking; the first request is due at `now`. */
  constructor(now: Instant, options: PortControlOptions) {
    this.#options = options;
    this.#server = { hostname: options.gateway, port: PORT_CONTROL_PORT };
    this.#nonce = options.rng.bytes(PCP_NONCE_BYTES);
    this.#since = now;
    this.#dueAt = now;
  }

  /** The mapping now. */
  get mapping(): PortMapping | undefined {
    return this.#mapping;
  }

  /** Datagrams offered that said nothing. */
  get ignored(): number {
    return this.#ignored;
  }

  /** Something has changed outside: looks whether the mapping is still there, at once. */
  check(now: Instant): void {
    if (!this.#mayRecreate(now)) return;
    if (this.#phase === "mapped") this.#renewAt = now;
    else if (this.#phase === "resting") this.#dueAt = now;
    else return;
    this.#recreatedAt = now;
  }

  /** Deletes the mapping. `released` follows, with or without an answer. */
  release(now: Instant): void {
    if (this.#phase === "releasing" || this.#phase === "released") return;
    if (!this.#asked) return this.#end();
    this.#enter("releasing", now);
  }

  /** Offers a datagram from the socket that requests go out on. Returns whether it was an answer of the gateway. */
  handleInput(now: Instant, { source, payload }: Datagram): boolean {
    const known = sameAddress(source, this.#server) && this.#read(now, payload);
    if (!known) this.#ignored++;
    return known;
  }

  /** Offers a datagram that came to port 5350 by multicast. Returns whether it was an announcement of the gateway. */
  handleAnnouncement(now: Instant, { source, payload }: Datagram): boolean {
    if (sameAddress(source, this.#server)) {
      const pmp = decodeNatPmp(payload);
      if (pmp?.kind === "address") {
        const moved = this.#mapping?.protocol === "nat-pmp" &&
          this.#mapping.external.hostname !== pmp.address;
        if (!this.#clock.handle(now, pmp.epoch) || moved) this.#askSoon(now);
        return true;
      }
      const pcp = decodePcp(payload);
      if (pcp?.opcode === "announce" && pcp.version === PCP_VERSION && pcp.result === 0) {
        if (!this.#clock.handle(now, pcp.epoch)) this.#askSoon(now);
        return true;
      }
    }
    this.#ignored++;
    return false;
  }

  /** Sends what is due. */
  handleTimeout(now: Instant): void {
    if (this.#phase === "mapped") return this.#keep(now);
    if (this.#dueAt === undefined || now < this.#dueAt) return;
    switch (this.#phase) {
      case "asking":
        return this.#ask(now);
      case "resting":
        return this.#enter("asking", now);
      case "releasing":
        return this.#delete();
    }
  }

  /** Takes the next event. */
  pollEvent(): MappingEvent | undefined {
    return this.#events.shift();
  }

  /** Takes the next request. */
  pollTransmit(): Transmit | undefined {
    const payload = this.#transmits.shift();
    return payload && { destination: this.#server, payload };
  }

  /** When the next request is due; `undefined` once released. */
  pollTimeout(): Instant | undefined {
    if (this.#phase !== "mapped") return this.#dueAt;
    return earlier(earlier(this.#renewAt, this.#checkAt), this.#mapping?.expiresAt);
  }

  #enter(phase: "asking" | "releasing", now: Instant): void {
    this.#phase = phase;
    this.#since = now;
    this.#sent = 0;
    this.#dueAt = now;
    this.#address = undefined;
    this.#mapped = undefined;
    this.handleTimeout(now);
  }

  #ask(now: Instant): void {
    const steps = this.#steps();
    const step = steps[this.#sent];
    if (step === undefined) return this.#silent(now);
    this.#request(step[1]);
    const next = steps[++this.#sent];
    const wait = next === undefined ? LAST_WAIT_MS : next[0] - step[0];
    // RFC 6887 section 8.1.1: a tenth more or less. NAT-PMP asks for no spreading, and is not hurt by it.
    this.#dueAt = after(now, wait * (0.9 + this.#random() / 5));
  }

  #steps(): readonly Step[] {
    // NAT-PMP knows no IPv6.
    if (this.#language === "pcp" || this.#options.client.includes(":")) return ASK_PCP;
    return this.#language === "nat-pmp" ? ASK_NAT_PMP : ASK_EITHER;
  }

  #silent(now: Instant): void {
    // It may have been replaced by one that speaks something else.
    this.#language = undefined;
    this.#fail(now, "no answer", SILENT_REST_MS);
  }

  #request(language: Language): void {
    const { client, internalPort } = this.#options;
    const suggestedPort = this.#suggested?.port ?? internalPort;
    const lifetime = MAPPING_LIFETIME_SECONDS;
    this.#asked = true;
    if (language === "pcp") {
      const suggestedAddress = this.#suggested?.hostname;
      const nonce = this.#nonce;
      this.#send(
        encodePcpMap({ nonce, client, internalPort, suggestedPort, suggestedAddress, lifetime }),
      );
      return;
    }
    if (this.#address === undefined) this.#send(encodeNatPmpAddress());
    if (this.#mapped === undefined) {
      this.#send(encodeNatPmpMap({ internalPort, suggestedPort, lifetime }));
    }
  }

  #keep(now: Instant): void {
    const { expiresAt } = this.#mapping ?? {};
    if (expiresAt !== undefined && now >= expiresAt) {
      this.#lose("it has expired: the gateway does not answer any more");
      return this.#enter("asking", now);
    }
    if (this.#renewAt !== undefined && now >= this.#renewAt) {
      this.#renewAt = this.#renewalAfter(now, expiresAt ?? now);
      this.#checkAt = after(now, CHECK_MS);
      this.#address = undefined;
      this.#mapped = undefined;
      this.#request(this.#spoken());
    } else if (this.#checkAt !== undefined && now >= this.#checkAt) {
      this.#checkAt = after(now, CHECK_MS);
      const { client } = this.#options;
      this.#send(this.#spoken() === "pcp" ? encodePcpAnnounce(client) : encodeNatPmpAddress());
    }
  }

  /** RFC 6887 section 11.2.1: between 1/2 and 5/8 of what is left. */
  #renewalAfter(now: Instant, expiresAt: Instant): Instant {
    const left = Math.max(0, expiresAt - now);
    return after(now, Math.max(RENEW_MS_MIN, left * (0.5 + this.#random() / 8)));
  }

  #delete(): void {
    const due = RELEASE_MS[this.#sent];
    if (due === undefined) return this.#end();
    const { client, internalPort } = this.#options;
    // Without an answer yet, the mapping may have been made in either language.
    if (this.#language !== "nat-pmp") {
      const nonce = this.#nonce;
      this.#send(encodePcpMap({ nonce, client, internalPort, suggestedPort: 0, lifetime: 0 }));
    }
    if (this.#language !== "pcp" && !client.includes(":")) {
      this.#send(encodeNatPmpMap({ internalPort, suggestedPort: 0, lifetime: 0 }));
    }
    // Who has never answered will not answer now.
    if (this.#language === undefined) return this.#end();
    this.#dueAt = after(this.#since, RELEASE_MS[++this.#sent] ?? RELEASE_END_MS);
  }

  #end(): void {
    this.#phase = "released";
    this.#dueAt = undefined;
    this.#mapping = undefined;
    this.#events.push({ kind: "released" });
  }

  #read(now: Instant, payload: Uint8Array): boolean {
    if (this.#phase === "released" || !this.#asked) return false;
    const pmp = decodeNatPmp(payload);
    if (pmp !== undefined) return this.#readNatPmp(now, pmp);
    const pcp = decodePcp(payload);
    return pcp !== undefined && this.#readPcp(now, pcp);
  }

  #readPcp(now: Instant, response: PcpResponse): boolean {
    const { version, opcode, result, lifetime } = response;
    if (version !== PCP_VERSION || result === PCP_RESULT.unsupportedVersion) {
      if (this.#phase !== "asking") return false;
      this.#fail(now, `the gateway speaks version ${version} of PCP`, REST_MS_MAX);
      return true;
    }
    if (opcode === "announce") {
      this.#remembers(now, response.epoch);
      return true;
    }
    const internalPort = this.#options.internalPort;
    if (!isAboutMapping(response, { nonce: this.#nonce, internalPort })) return false;
    const { mapping } = response;
    if (mapping === undefined) return false;
    this.#clock.handle(now, response.epoch);
    if (this.#phase === "releasing") {
      this.#end();
      return true;
    }
    this.#language = "pcp";
    if (result !== PCP_RESULT.success) {
      // While a mapping lasts, a refusal to renew it takes nothing away.
      if (this.#phase === "asking") {
        const rest = Math.min(REST_MS_MAX, Math.max(REST_MS, lifetime * 1000));
        this.#fail(now, pcpReason(result), rest);
      }
      return true;
    }
    const external = { hostname: mapping.externalAddress, port: mapping.externalPort };
    this.#take(now, external, lifetime);
    return true;
  }

  #readNatPmp(now: Instant, response: NatPmpResponse): boolean {
    const { client, internalPort } = this.#options;
    if (client.includes(":")) {
      // A gateway that knows NAT-PMP only says so on IPv6 as well, where there is nothing that it could map.
      if (this.#phase !== "asking") return false;
      this.#fail(now, "the gateway speaks NAT-PMP only, which knows no IPv6", REST_MS_MAX);
      return true;
    }
    switch (response.kind) {
      case "refused":
        return this.#refused(now, response.result);
      case "address": {
        const { address, epoch } = response;
        if (!this.#remembers(now, epoch)) return true;
        this.#address = address;
        break;
      }
      case "map": {
        if (response.internalPort !== internalPort) return false;
        this.#clock.handle(now, response.epoch);
        if (this.#phase === "releasing") {
          if (response.lifetime === 0) this.#end();
          return true;
        }
        this.#mapped = { port: response.externalPort, lifetime: response.lifetime };
        break;
      }
    }
    if (this.#phase === "releasing") return true;
    this.#takeNatPmp(now);
    return true;
  }

  #refused(now: Instant, result: number): boolean {
    if (result === NAT_PMP_UNSUPPORTED_VERSION) {
      // The answer to our PCP request, which may come late.
      if (this.#language === "nat-pmp" || this.#phase !== "asking") return false;
      this.#language = "nat-pmp";
      this.#enter("asking", now);
      return true;
    }
    if (this.#phase === "releasing") this.#end();
    else if (this.#phase === "asking") {
      this.#language = "nat-pmp";
      this.#fail(now, natPmpReason(result), REST_MS);
    }
    return true;
  }

  #takeNatPmp(now: Instant): void {
    const hostname = this.#address;
    if (hostname === undefined) return;
    if (this.#mapped !== undefined) {
      this.#language = "nat-pmp";
      const { port, lifetime } = this.#mapped;
      return this.#take(now, { hostname, port }, lifetime);
    }
    // A look at the gateway's clock has told that its address is another.
    const mapping = this.#mapping;
    if (this.#phase !== "mapped" || mapping === undefined) return;
    if (hostname === mapping.external.hostname || isUnspecified(hostname)) return;
    this.#set({ ...mapping, external: { hostname, port: mapping.external.port } });
  }

  #take(now: Instant, external: SocketAddress, lifetime: number): void {
    if (lifetime === 0) return this.#fail(now, "the gateway grants no time", REST_MS);
    if (external.port === 0 || isUnspecified(external.hostname)) {
      return this.#fail(now, "the gateway has no external address", REST_MS);
    }
    const seconds = Math.min(LIFETIME_SECONDS_MAX, Math.max(LIFETIME_SECONDS_MIN, lifetime));
    const expiresAt = after(now, seconds * 1000);
    const { gateway } = this.#options;
    this.#phase = "mapped";
    this.#failures = 0;
    this.#renewAt = this.#renewalAfter(now, expiresAt);
    this.#checkAt = after(now, CHECK_MS);
    this.#set({ protocol: this.#spoken(), gateway, external, expiresAt });
  }

  #set(mapping: PortMapping): void {
    const before = this.#mapping;
    this.#mapping = mapping;
    this.#suggested = mapping.external;
    const same = before !== undefined && before.protocol === mapping.protocol &&
      sameAddress(before.external, mapping.external);
    if (!same) this.#events.push({ kind: "mapped", mapping });
  }

  /** Takes the gateway's clock. Returns false if it has lost our mapping, which is then being made again. */
  #remembers(now: Instant, epoch: number): boolean {
    if (this.#clock.handle(now, epoch) || this.#phase !== "mapped") return true;
    if (!this.#mayRecreate(now)) return true;
    this.#recreatedAt = now;
    this.#enter("asking", now);
    return false;
  }

  /** Asks again within seconds; what comes too soon after the last time waits, and one that waits is enough. */
  #askSoon(now: Instant): void {
    if (this.#phase !== "mapped" && this.#phase !== "resting") return;
    const last = this.#recreatedAt;
    if (last !== undefined && last > now) return;
    const from = last === undefined || this.#mayRecreate(now) ? now : after(last, RECREATE_MS_MIN);
    this.#recreatedAt = from;
    const at = after(from, this.#random() * ANNOUNCED_MS_MAX);
    if (this.#phase === "mapped") this.#renewAt = at;
    else this.#dueAt = at;
  }

  #mayRecreate(now: Instant): boolean {
    return this.#recreatedAt === undefined || now - this.#recreatedAt >= RECREATE_MS_MIN;
  }

  #fail(now: Instant, reason: string, restMs: number): void {
    this.#lose(reason);
    this.#events.push({ kind: "failed", reason });
    this.#phase = "resting";
    const rest = Math.min(REST_MS_MAX, restMs * 2 ** Math.min(this.#failures++, 8));
    this.#dueAt = after(now, rest * (0.9 + this.#random() / 10));
  }

  #lose(reason: string): void {
    if (this.#mapping === undefined) return;
    this.#mapping = undefined;
    this.#events.push({ kind: "lost", reason });
  }

  #spoken(): Language {
    assert(this.#language !== undefined, "who has answered has a language");
    return this.#language;
  }

  #send(payload: Uint8Array): void {
    this.#transmits.push(payload);
  }

  /** From 0 to 1. */
  #random(): number {
    return (this.#options.rng.bytes(1)[0] ?? 0) / 255;
  }
}

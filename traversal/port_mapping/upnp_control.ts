/**
 * Keeps one UDP port mapped by a UPnP gateway (Internet Gateway Device, versions 1 and 2).
 *
 * ```text
 *   searching --answer--> describing --> asking the address --> mapping --> mapped
 *      ^  |                   |                |                   |          | half of the lease: address and mapping again
 *      |  | silence           +------ refused, nonsense -----------+          | every two minutes: does the entry lead to us?
 *      |  v                   v                                               |
 *      +-- resting <----------+                 the gateway is gone: searching, keeping the mapping for the time being
 *                                               release(): any ----> deleting ----> released
 * ```
 *
 * HTTP belongs to the caller: it takes {@linkcode UpnpControl.pollRequest} and answers each request exactly once with
 * {@linkcode UpnpControl.handleResponse}, with `undefined` for what failed or took too long.
 *
 * Whoever shares our link can answer a search. Where the gateway's address is known from the routing table, nobody else is heard,
 * and in any case only the host that answered is talked to.
 *
 * @module
 */
import {
  after,
  type Datagram,
  earlier,
  type Instant,
  type Machine,
  type Rng,
  sameAddress,
  type Transmit,
} from "../../core/mod.ts";
import {
  MAPPING_LIFETIME_SECONDS,
  type MappingEvent,
  type MappingProtocol,
  type PortMapping,
} from "./mapping.ts";
import {
  decodeSearchAnswer,
  encodeSearch,
  type HttpLocation,
  SSDP_ADDRESS,
  SSDP_TARGETS,
} from "./ssdp.ts";
import {
  type ActionResult,
  addPortMapping,
  deletePortMapping,
  describe,
  getExternalAddress,
  getPortMapping,
  type HttpRequest,
  type HttpResponse,
  leadsTo,
  parseActionResult,
  parseDescription,
  parseExternalAddress,
  parsePort,
  UPNP_ERROR,
  type WanService,
} from "./upnp.ts";

/** Options of {@linkcode UpnpControl}. */
export interface UpnpControlOptions {
  /** The gateway's address on our side, a canonical IPv4 literal. Absent: whoever answers the search. */
  readonly gateway?: string | undefined;
  /** Our address on that side, a canonical IPv4 literal. */
  readonly client: string;
  /** Our UDP port. */
  readonly internalPort: number;
  /** Entropy for ports and for spreading requests. */
  readonly rng: Rng;
}

type Step =
  | "searching"
  | "describing"
  | "addressing"
  | "mapping"
  | "mapped"
  | "checking"
  | "resting";

const PROTOCOL: MappingProtocol = "upnp";
/** When searches go out after the first: UDP may lose them. */
const SEARCH_MS: readonly number[] = [0, 1000, 3000];
const SEARCH_END_MS = 6000;
/** Between two looks at the gateway's table. */
const CHECK_MS = 120_000;
/** No gateway is asked again because of somebody else more often than this. */
const CHECK_MS_MIN = 5_000;
/** Ports tried when others have the one we would like. */
const PORTS_MAX = 5;
/** A mapping that its gateway keeps for ever is made again this often, as one of the usual lifetime is. */
const PERMANENT_RENEW_MS = MAPPING_LIFETIME_SECONDS * 500;
const REST_MS = 120_000;
const REST_MS_MAX = 1_800_000;

/** Asks UPnP gateways for one port. */
export class UpnpControl implements Machine<MappingEvent> {
  readonly #options: UpnpControlOptions;
  #step: Step | "deleting" | "released" = "searching";
  #since: Instant;
  #sent = 0;
  /** When to act in `searching`, `mapped` and `resting`; `undefined` while an answer is awaited. */
  #dueAt: Instant | undefined;
  #renewAt: Instant | undefined;
  #location: HttpLocation | undefined;
  /** The services not yet tried; the first is in use. */
  #services: readonly WanService[] = [];
  #address: string | undefined;
  /** The port asked for, and how many were before it. */
  #port: number;
  #portsTried = 0;
  #leaseSeconds = MAPPING_LIFETIME_SECONDS;
  #any = true;
  #mapping: PortMapping | undefined;
  /** Where a mapping may have been made, for its deletion. */
  #madeAt: { readonly service: WanService; readonly port: number } | undefined;
  /** Number of the request whose answer is awaited, 0 for none, and of the last one made. */
  #awaited = 0;
  #lastId = 0;
  /** Whether the services were found by the search that goes on, and not by an older one. */
  #fresh = false;
  #failures = 0;
  #checkedAt: Instant | undefined;
  #request: HttpRequest | undefined;
  readonly #transmits: Transmit[] = [];
  readonly #events: MappingEvent[] = [];
  #ignored = 0;

  /** Starts searching; the first search is due at `now`. */
  constructor(now: Instant, options: UpnpControlOptions) {
    this.#options = options;
    this.#since = now;
    this.#dueAt = now;
    this.#port = options.internalPort;
  }

  /** The mapping now. */
  get mapping(): PortMapping | undefined {
    return this.#mapping;
  }

  /** Datagrams offered that said nothing. */
  get ignored(): number {
    return this.#ignored;
  }

  /** Something has changed outside: looks whether the mapping and the address are still the same, at once. */
  check(now: Instant): void {
    if (this.#checkedAt !== undefined && now - this.#checkedAt < CHECK_MS_MIN) return;
    if (this.#step === "mapped") this.#renewAt = now;
    else if (this.#step !== "resting") return;
    this.#checkedAt = now;
    this.#dueAt = now;
  }

  /** Deletes the mapping. `released` follows, with the answer to that. */
  release(_now: Instant): void {
    if (this.#step === "deleting" || this.#step === "released") return;
    this.#awaited = 0;
    this.#request = undefined;
    this.#dueAt = undefined;
    const made = this.#madeAt;
    if (made === undefined) return this.#end();
    this.#step = "deleting";
    this.#say(deletePortMapping(made.service, made.port));
  }

  /** Offers a datagram from the socket that searches go out on. Returns whether a gateway answered. */
  handleInput(now: Instant, datagram: Datagram): boolean {
    const { gateway } = this.#options;
    const location = this.#step !== "searching" ||
        (gateway !== undefined && datagram.source.hostname !== gateway)
      ? undefined
      : decodeSearchAnswer(datagram);
    if (location === undefined) {
      this.#ignored++;
      return false;
    }
    this.#location = location;
    this.#wait("describing", describe(location));
    this.#since = now;
    return true;
  }

  /** Takes the answer to a request; `undefined` if there is none. Answers that nobody waits for any more do nothing. */
  handleResponse(now: Instant, id: number, response: HttpResponse | undefined): void {
    if (this.#awaited === 0 || id !== this.#awaited) return;
    this.#awaited = 0;
    if (this.#step === "deleting") return this.#end();
    if (this.#step === "describing") return this.#described(now, response);
    const result = response && parseActionResult(response);
    if (result === undefined) return this.#nextService(now, "the gateway's answer makes no sense");
    switch (this.#step) {
      case "addressing":
        return this.#addressed(now, result);
      case "mapping":
        return this.#mapped(now, result);
      case "checking":
        return this.#checked(now, result);
    }
  }

  /** Searches, renews and checks when due. */
  handleTimeout(now: Instant): void {
    if (this.#dueAt === undefined || now < this.#dueAt) return;
    switch (this.#step) {
      case "searching":
        return this.#search(now);
      case "resting":
        return this.#start(now);
      case "mapped":
        return this.#keep(now);
    }
  }

  /** Takes the next event. */
  pollEvent(): MappingEvent | undefined {
    return this.#events.shift();
  }

  /** Takes the next search. */
  pollTransmit(): Transmit | undefined {
    return this.#transmits.shift();
  }

  /** Takes the next HTTP request, and the number under which its answer is awaited. */
  pollRequest(): { readonly id: number; readonly request: HttpRequest } | undefined {
    const request = this.#request;
    this.#request = undefined;
    return request && { id: this.#awaited, request };
  }

  /** When to act next; `undefined` while an answer is awaited, and once released. */
  pollTimeout(): Instant | undefined {
    return this.#dueAt;
  }

  // ---- searching

  #start(now: Instant): void {
    this.#step = "searching";
    this.#since = now;
    this.#sent = 0;
    this.#dueAt = now;
    this.#search(now);
  }

  #search(now: Instant): void {
    if (this.#sent === SEARCH_MS.length) return this.#fail(now, "no UPnP gateway answers");
    this.#sent++;
    this.#dueAt = after(this.#since, SEARCH_MS[this.#sent] ?? SEARCH_END_MS);
    const { gateway } = this.#options;
    for (const target of SSDP_TARGETS) {
      const payload = encodeSearch(target);
      this.#transmits.push({ destination: SSDP_ADDRESS, payload });
      // To the gateway itself as well (section 1.3.2): a switch that loses multicast does not lose this.
      if (gateway === undefined) continue;
      this.#transmits.push({
        destination: { hostname: gateway, port: SSDP_ADDRESS.port },
        payload,
      });
    }
  }

  #described(now: Instant, response: HttpResponse | undefined): void {
    const location = this.#location;
    if (response === undefined || location === undefined) {
      return this.#fail(now, "the gateway's description cannot be read");
    }
    this.#services = parseDescription(response, location);
    this.#fresh = true;
    this.#tryService(now, "the gateway describes nothing that maps ports");
  }

  // ---- one service

  #tryService(now: Instant, otherwise: string): void {
    const [service] = this.#services;
    if (service === undefined) return this.#fail(now, otherwise);
    this.#portsTried = 0;
    this.#leaseSeconds = MAPPING_LIFETIME_SECONDS;
    this.#any = service.type.endsWith(":2");
    this.#port = this.#mapping?.external.port ?? this.#options.internalPort;
    this.#wait("addressing", getExternalAddress(service));
  }

  #nextService(now: Instant, reason: string): void {
    // A gateway that has been away while it had our mapping may be back with another description.
    if (!this.#fresh) return this.#start(now);
    this.#services = this.#services.slice(1);
    this.#tryService(now, reason);
  }

  #addressed(now: Instant, result: ActionResult): void {
    if (result.kind === "refused") return this.#nextService(now, refusal(result));
    const address = parseExternalAddress(result.value("NewExternalIPAddress"));
    if (address === undefined) {
      return this.#nextService(now, "the gateway has no external address");
    }
    this.#address = address;
    this.#map();
  }

  #map(): void {
    const [service] = this.#services;
    if (service === undefined) return;
    const { client, internalPort } = this.#options;
    const mapping = {
      client,
      internalPort,
      externalPort: this.#port,
      leaseSeconds: this.#leaseSeconds,
    };
    this.#madeAt = { service, port: this.#port };
    this.#wait("mapping", addPortMapping(service, mapping, { any: this.#any }));
  }

  #mapped(now: Instant, result: ActionResult): void {
    if (result.kind === "refused") return this.#refused(now, result);
    const [service] = this.#services;
    const hostname = this.#address;
    if (service === undefined || hostname === undefined) return;
    const reserved = this.#any ? parsePort(result.value("NewReservedPort")) : this.#port;
    if (reserved === undefined) {
      return this.#nextService(now, "the gateway's answer makes no sense");
    }
    this.#port = reserved;
    this.#madeAt = { service, port: reserved };
    this.#failures = 0;
    this.#fresh = false;
    this.#step = "mapped";
    const leaseMs = this.#leaseSeconds * 1000;
    const expiresAt = leaseMs === 0 ? undefined : after(now, leaseMs);
    this.#renewAt = after(now, (leaseMs || 2 * PERMANENT_RENEW_MS) * (0.5 + this.#random() / 8));
    this.#rest(now);
    const { server } = service.control;
    this.#set({
      protocol: PROTOCOL,
      gateway: server.hostname,
      external: { hostname, port: reserved },
      expiresAt,
    });
  }

  #refused(now: Instant, result: ActionResult & { readonly kind: "refused" }): void {
    const { code } = result;
    const { internalPort } = this.#options;
    if (code === UPNP_ERROR.invalidAction && this.#any) {
      this.#any = false;
      return this.#map();
    }
    const lease = code === UPNP_ERROR.onlyPermanentLeases || code === UPNP_ERROR.invalidArguments;
    if (lease && this.#leaseSeconds !== 0) {
      this.#leaseSeconds = 0;
      return this.#map();
    }
    const taken = code === UPNP_ERROR.conflict || code === UPNP_ERROR.conflictWithOthers;
    if (taken && ++this.#portsTried < PORTS_MAX) {
      this.#port = this.#randomPort();
      return this.#map();
    }
    if (code === UPNP_ERROR.samePortRequired && this.#port !== internalPort) {
      // Asked with our own port first, so that somebody else has it.
      return this.#nextService(now, "another host has our port");
    }
    this.#nextService(now, refusal(result));
  }

  // ---- keeping it

  /** Sets when to act next while mapped. */
  #rest(now: Instant): void {
    this.#dueAt = earlier(this.#renewAt, after(now, CHECK_MS));
  }

  #keep(now: Instant): void {
    const [service] = this.#services;
    if (service === undefined) return this.#start(now);
    if (this.#renewAt !== undefined && now >= this.#renewAt) {
      this.#wait("addressing", getExternalAddress(service));
    } else this.#wait("checking", getPortMapping(service, this.#port));
  }

  #checked(now: Instant, result: ActionResult): void {
    const { client: hostname, internalPort: port } = this.#options;
    if (result.kind === "done" && leadsTo(result.value, { hostname, port })) {
      this.#step = "mapped";
      return this.#rest(now);
    }
    // Gone, or somebody else's: it is made again, at another port if need be.
    this.#tryService(now, "the gateway has lost the mapping");
  }

  #set(mapping: PortMapping): void {
    const before = this.#mapping;
    this.#mapping = mapping;
    const same = before !== undefined && before.gateway === mapping.gateway &&
      sameAddress(before.external, mapping.external);
    if (!same) this.#events.push({ kind: "mapped", mapping });
  }

  #fail(now: Instant, reason: string): void {
    if (this.#mapping !== undefined) {
      this.#mapping = undefined;
      this.#events.push({ kind: "lost", reason });
    }
    this.#events.push({ kind: "failed", reason });
    this.#step = "resting";
    const rest = Math.min(REST_MS_MAX, REST_MS * 2 ** Math.min(this.#failures++, 8));
    this.#dueAt = after(now, rest * (0.9 + this.#random() / 10));
  }

  #end(): void {
    this.#step = "released";
    this.#dueAt = undefined;
    this.#mapping = undefined;
    this.#events.push({ kind: "released" });
  }

  #wait(step: Step, request: HttpRequest): void {
    this.#step = step;
    this.#dueAt = undefined;
    this.#say(request);
  }

  #say(request: HttpRequest): void {
    this.#request = request;
    this.#awaited = ++this.#lastId;
  }

  /** From 0 to 1. */
  #random(): number {
    return (this.#options.rng.bytes(1)[0] ?? 0) / 255;
  }

  /** A dynamic port (RFC 6335 section 6). */
  #randomPort(): number {
    const [high = 0, low = 0] = this.#options.rng.bytes(2);
    return 0xc000 | (high << 8 | low) & 0x3fff;
  }
}

function refusal(
  { code, description }: { readonly code: number; readonly description: string },
): string {
  return `the gateway refuses with ${code}${description === "" ? "" : ` (${description})`}`;
}

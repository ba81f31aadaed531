/**
 * Asks one gateway for a port: by PCP or NAT-PMP, and by UPnP where neither answers.
 *
 * ```text
 *   PortControl --mapped------------------------------> done; UPnP, if it was faster, gives its mapping back
 *               --refused, lost, or silent for 1.5 s--> UpnpControl, IPv4 only, while PortControl asks on
 * ```
 *
 * @module
 */
import {
  type Clock,
  formatSocketAddress,
  messageOf,
  type Rng,
  type SocketAddress,
} from "../core/mod.ts";
import type { Gateway } from "../io/mod.ts";
import { type MappingEvent, PortControl, type PortMapping, UpnpControl } from "../traversal/mod.ts";
import { askGateway } from "./gateway_http.ts";
import { MachineSocket } from "./machine_socket.ts";
import type { Log } from "./options.ts";
import type { PortMappingStatus } from "./status.ts";

/** Options of {@linkcode GatewayMapper}. */
export interface GatewayMapperOptions {
  /** Who is asked. */
  readonly gateway: Gateway;
  /** Our UDP port of WireGuard. */
  readonly port: number;
  /** Where the log goes; a gateway that does nothing for us is worth one line at level debug. */
  readonly log: Log;
  /** Entropy. */
  readonly rng: Rng;
  /** Monotonic time. */
  readonly clock: Clock;
  /** Called when the mapping is another, or gone. */
  readonly onChange: () => void;
}

/** How long PCP and NAT-PMP have before UPnP is tried: whoever speaks them answers within milliseconds. */
const UPNP_AFTER_MS = 1_500;

/** A machine on its socket. */
interface Asker<Machine> {
  readonly machine: Machine;
  readonly socket: MachineSocket<MappingEvent>;
  /** Resolves when the machine has given back what it had. */
  readonly released: PromiseWithResolvers<void>;
}

/** One gateway and what it does for us. */
export class GatewayMapper implements Disposable {
  /** Who is asked. */
  readonly gateway: Gateway;
  readonly #options: GatewayMapperOptions;
  readonly #ended = new AbortController();
  #control: Asker<PortControl> | undefined;
  #upnp: Asker<UpnpControl> | undefined;
  #upnpTimer: ReturnType<typeof setTimeout> | undefined;
  /** Why each of them has no mapping. */
  readonly #reasons = new Map<"pcp" | "upnp", string>();
  /** What the log was told last. */
  #said: string | undefined;

  /** Starts asking. */
  constructor(options: GatewayMapperOptions) {
    this.#options = options;
    this.gateway = options.gateway;
    const { address } = this.gateway;
    if (address === undefined) this.#startUpnp();
    else {
      this.#control = this.#startControl(address);
      this.#upnpTimer = setTimeout(() => this.#startUpnp(), UPNP_AFTER_MS);
      Deno.unrefTimer(this.#upnpTimer);
    }
  }

  /** The mapping now. */
  get mapping(): PortMapping | undefined {
    return this.#control?.machine.mapping ?? this.#upnp?.machine.mapping;
  }

  /** What the gateway does for us, for `status`. */
  status(isReachable: (mapping: PortMapping) => boolean): PortMappingStatus {
    const { mapping, gateway } = this;
    const offered = mapping !== undefined && isReachable(mapping);
    const leftMs = mapping?.expiresAt === undefined
      ? undefined
      : mapping.expiresAt - this.#options.clock.now();
    return {
      family: gateway.family,
      gateway: mapping?.gateway ?? gateway.address ?? null,
      protocol: mapping?.protocol ?? null,
      external: mapping === undefined ? null : formatSocketAddress(mapping.external),
      lifetimeSeconds: leftMs === undefined ? null : Math.max(0, Math.round(leftMs / 1000)),
      offered,
      reason: offered
        ? null
        : mapping === undefined
        ? this.#reason()
        : whyNotOffered(mapping.external),
    };
  }

  /** Something has changed: looks whether the mapping is still there. */
  check(): void {
    const now = this.#options.clock.now();
    for (const { machine, socket } of this.#askers()) {
      machine.check(now);
      socket.turn();
    }
  }

  /** Offers a datagram that came by multicast. */
  handleAnnouncement(datagram: Parameters<PortControl["handleAnnouncement"]>[1]): void {
    if (this.#control === undefined) return;
    const { machine, socket } = this.#control;
    if (machine.handleAnnouncement(this.#options.clock.now(), datagram)) socket.turn();
  }

  /** Deletes the mapping. Resolves when the gateway has answered to that, or will not. */
  async release(): Promise<void> {
    clearTimeout(this.#upnpTimer);
    this.#upnpTimer = undefined;
    await Promise.all(this.#askers().map((asker) => this.#release(asker)));
  }

  /** Closes the sockets. The mapping stays where it is, until it expires. */
  [Symbol.dispose](): void {
    clearTimeout(this.#upnpTimer);
    this.#ended.abort();
    for (const { socket } of this.#askers()) socket[Symbol.dispose]();
    this.#control = undefined;
    this.#upnp = undefined;
  }

  #askers(): readonly Asker<PortControl | UpnpControl>[] {
    return [this.#control, this.#upnp].filter((asker) => asker !== undefined);
  }

  #release({ machine, socket, released }: Asker<PortControl | UpnpControl>): Promise<void> {
    machine.release(this.#options.clock.now());
    socket.turn();
    return released.promise;
  }

  #startControl(gateway: string): Asker<PortControl> | undefined {
    const { port: internalPort, rng, clock } = this.#options;
    const client = this.gateway.local;
    const machine = new PortControl(clock.now(), { gateway, client, internalPort, rng });
    return this.#asker(machine, "pcp", (event) => {
      // A lost mapping is made again by whoever is quicker.
      if (event.kind === "failed" || event.kind === "lost") this.#startUpnp();
      if (event.kind === "mapped") this.#stopUpnp();
    });
  }

  #startUpnp(): void {
    clearTimeout(this.#upnpTimer);
    this.#upnpTimer = undefined;
    if (this.#upnp !== undefined || this.gateway.family === 6) return;
    if (this.#control?.machine.mapping !== undefined || this.#ended.signal.aborted) return;
    const { port: internalPort, rng, clock } = this.#options;
    const { address: gateway, local: client } = this.gateway;
    const machine = new UpnpControl(clock.now(), { gateway, client, internalPort, rng });
    const asker = this.#asker(
      machine,
      "upnp",
      () => {},
      () => this.#fetchFor(machine, () => asker?.socket.turn()),
    );
    this.#upnp = asker;
  }

  /** PCP has mapped the port: two mappings would be one too many. */
  #stopUpnp(): void {
    clearTimeout(this.#upnpTimer);
    this.#upnpTimer = undefined;
    const upnp = this.#upnp;
    if (upnp === undefined) return;
    this.#upnp = undefined;
    this.#release(upnp).finally(() => upnp.socket[Symbol.dispose]());
  }

  #fetchFor(machine: UpnpControl, turn: () => void): void {
    for (let next; (next = machine.pollRequest()) !== undefined;) {
      const { id, request } = next;
      askGateway(request, this.#ended.signal).then((response) => {
        machine.handleResponse(this.#options.clock.now(), id, response);
        turn();
      });
    }
  }

  /** `undefined`, and a reason, where our address cannot be bound: it has just gone. */
  #asker<Machine extends PortControl | UpnpControl>(
    machine: Machine,
    name: "pcp" | "upnp",
    onEvent: (event: MappingEvent) => void,
    onTurn?: () => void,
  ): Asker<Machine> | undefined {
    const released = Promise.withResolvers<void>();
    const { local: hostname, interfaceName } = this.gateway;
    try {
      const socket = new MachineSocket<MappingEvent>({
        machine,
        hostname,
        interfaceName,
        clock: this.#options.clock,
        onEvent: (event) => {
          if (event.kind === "released") released.resolve();
          else this.#handle(name, event);
          onEvent(event);
        },
        onError: (reason) => this.#failed(name, reason),
        ...(onTurn && { onTurn }),
      });
      return { machine, socket, released };
    } catch (error) {
      this.#failed(name, messageOf(error));
      return undefined;
    }
  }

  #handle(
    name: "pcp" | "upnp",
    event: Exclude<MappingEvent, { readonly kind: "released" }>,
  ): void {
    const { log, onChange } = this.#options;
    switch (event.kind) {
      case "mapped": {
        this.#reasons.clear();
        const { protocol, gateway, external } = event.mapping;
        const said = `port mapped by ${protocol}`;
        // A gateway may change its mind about the address as often as it likes.
        if (said !== this.#said) {
          log("debug", said, { external: formatSocketAddress(external), gateway });
        }
        this.#said = said;
        return onChange();
      }
      case "lost":
        this.#said = undefined;
        log("debug", `port mapping lost: ${event.reason}`);
        return onChange();
      case "failed":
        return this.#failed(name, event.reason);
    }
  }

  #failed(name: "pcp" | "upnp", reason: string): void {
    this.#reasons.set(name, reason);
    const all = this.#reason();
    // Most gateways do nothing, and are asked for ever: the same answer is worth one line.
    const { family, address } = this.gateway;
    const complete = (family === 6 || this.#reasons.has("upnp")) &&
      (address === undefined || this.#reasons.has("pcp"));
    if (!complete || all === this.#said || this.mapping !== undefined) return;
    this.#said = all;
    const fields = { gateway: address ?? `on ${this.gateway.interfaceName}` };
    this.#options.log("debug", `no port mapping: ${all}`, fields);
  }

  #reason(): string {
    const [pcp, upnp] = [this.#reasons.get("pcp"), this.#reasons.get("upnp")];
    if (pcp === undefined && upnp === undefined) return "asking";
    const said = [pcp && `PCP and NAT-PMP: ${pcp}`, upnp && `UPnP: ${upnp}`];
    return said.filter((text) => text !== undefined).join("; ");
  }
}

function whyNotOffered({ hostname }: SocketAddress): string {
  return `the gateway's own address ${hostname} is private: another NAT is in front of it`;
}

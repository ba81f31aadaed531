/** Makes faults happen, and ends those that last. @module */
import type { Attacker } from "./attacker.ts";
import type { SimDiscovery } from "./discovery.ts";
import type { Direction, LinkQuality } from "./net/link.ts";
import type { Topology } from "./net/topology.ts";
import type { SimNode } from "./node.ts";
import type { SimRelay } from "./relay.ts";
import type { RelayFault } from "./relay_plan.ts";
import type { Fault } from "./scenario.ts";
import type { Happened } from "./watchdog.ts";

const BOTH: readonly Direction[] = ["up", "down"];

/** What {@linkcode Faults} works on. */
export interface FaultsOptions {
  /** The networks. */
  readonly topology: Topology;
  /** The service. */
  readonly discovery: SimDiscovery;
  /** The attacker. */
  readonly attacker: Attacker;
  /** Relays by id. */
  readonly relays: ReadonlyMap<string, SimRelay>;
  /** Nodes by name. */
  readonly nodes: ReadonlyMap<string, SimNode>;
  /** Has something happen after so many milliseconds. */
  readonly after: (ms: number, happening: () => void) => void;
  /** Hears that something has happened to the nodes that `which` picks. */
  readonly disturbed: (which: (node: SimNode) => boolean, happened: Happened) => void;
  /** Hears that what stood in everybody's way stands there no more. */
  readonly changed: () => void;
}

/** The faults of one world. */
export class Faults {
  /** Sites whose link is worse than it should be. */
  readonly degraded = new Set<string>();
  readonly #options: FaultsOptions;
  readonly #mends = new Set<() => void>();

  /** Nothing is wrong. */
  constructor(options: FaultsOptions) {
    this.#options = options;
  }

  /** Makes a fault happen. */
  happen(fault: Fault): void {
    const { topology, discovery, attacker } = this.#options;
    switch (fault.kind) {
      case "natReboot":
        topology.reboot(fault.site);
        return this.#disturb(fault.site, "NAT reboot");
      case "roam":
        topology.readdress(fault.site);
        return this.#disturb(fault.site, "new public address");
      case "carrierReboot":
        topology.rebootCarrier(fault.carrier);
        return this.#options.disturbed(
          ({ site }) => topology.site(site).description.carrier === fault.carrier,
          { after: "network", cause: `carrier reboot of ${fault.carrier}` },
        );
      case "move":
        return this.#change(fault, "network", (node) => node.move(fault.site));
      case "attach":
        return this.#change(fault, "network", (node) => node.attach(fault.site));
      case "handOver":
        return this.#change(fault, "network", (node) => node.handOver());
      case "cut":
        return this.#cut(fault);
      case "degrade":
        return this.#degrade(fault.site, fault.quality, fault.ms);
      case "sleep":
        this.#change(fault, "sleep", (node) => node.sleep(fault.how, fault.ms));
        return this.#lasting(
          fault.ms,
          () => this.#change(fault, "sleep", (node) => node.rise()),
        );
      case "restart":
        return this.#change(fault, "start", (node) => {
          if (node.process !== undefined) node.reboot(fault.ms);
        });
      case "discoveryDown":
        discovery.stop(fault);
        return this.#lasting(fault.ms, () => discovery.down = false);
      case "stunDown":
        topology.stun.down = true;
        return this.#lasting(fault.ms, () => topology.stun.down = false);
      case "attack":
        return attacker.attack(fault.ms);
      case "relayKilled":
      case "relayDrained":
      case "relayCut":
        return this.#relay(fault);
    }
  }

  /** Ends every fault that lasts. */
  mendAll(): void {
    for (const mend of [...this.#mends]) mend();
  }

  #cut({ site, directions, ms }: Fault & { readonly kind: "cut" }): void {
    const { dead } = this.#options.topology.site(site).link;
    for (const direction of directions) dead.add(direction);
    const what = `cut (${directions.join(" and ")})`;
    this.#disturb(site, what);
    this.#lasting(ms, () => {
      for (const direction of directions) dead.delete(direction);
      this.#disturb(site, `end of a ${what} of ${seconds(ms)}`);
    });
  }

  #degrade(name: string, quality: LinkQuality, ms: number): void {
    const { link, description } = this.#options.topology.site(name);
    link.quality = quality;
    this.degraded.add(name);
    this.#disturb(name, "degradation");
    this.#lasting(ms, () => {
      link.quality = description.link;
      this.degraded.delete(name);
      this.#disturb(name, `end of a degradation of ${seconds(ms)}`);
    });
  }

  #relay(fault: RelayFault): void {
    const { kind, relay: id, ms } = fault;
    const relay = this.#options.relays.get(id);
    if (relay === undefined) return;
    if (kind === "relayKilled") relay.kill(fault.how);
    else if (kind === "relayDrained") relay.drain(fault.drainMs);
    else for (const direction of BOTH) relay.link.dead.add(direction);
    const disturb = (cause: string): void =>
      this.#options.disturbed(({ noRelay }) => !noRelay, { after: "network", cause });
    disturb(`${kind} of ${id}`);
    // Its end at the end of a drain is an event of its own.
    if (kind === "relayDrained") {
      this.#options.after(fault.drainMs, () => disturb(`end of the drained ${id}`));
    }
    this.#lasting(ms, () => {
      if (kind === "relayCut") relay.link.dead.clear();
      else relay.restart();
      disturb(`end of ${kind} of ${id} after ${seconds(ms)}`);
    });
  }

  /** Ends a fault after `ms`, or with all others. */
  #lasting(ms: number, mend: () => void): void {
    const once = (): void => {
      if (!this.#mends.delete(once)) return;
      mend();
      this.#options.changed();
    };
    this.#mends.add(once);
    this.#options.after(ms, once);
  }

  #change(
    fault: Fault & { readonly node: string },
    after: Happened["after"],
    change: (node: SimNode) => void,
  ): void {
    const { kind, node: name } = fault;
    const node = this.#options.nodes.get(name);
    if (node === undefined) return;
    change(node);
    const how = "how" in fault ? ` (${fault.how} for ${seconds(fault.ms)})` : "";
    const cause = `${kind} of ${name}${how}`;
    this.#options.disturbed((changed) => changed === node, { after, cause });
  }

  /** The network of a site has changed. */
  #disturb(name: string, what: string): void {
    const happened = { after: "network", cause: `${what} of ${name}` } as const;
    this.#options.disturbed(({ site }) => site === name, happened);
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

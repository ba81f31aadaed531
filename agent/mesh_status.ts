/** What a mesh node says of itself, put together from its parts. Pure. @module */
import type { NatHint } from "../discovery/mod.ts";
import type { MeshMember } from "./control/mesh_view.ts";
import type { MeshControl } from "./mesh_control.ts";
import { MESH_MTU } from "./mesh_settings.ts";
import { type NetcheckReport, nodeReport } from "./netcheck/report.ts";
import { peerStatus } from "./peer_status.ts";
import { relayStatuses } from "./relay_status.ts";
import type { DatapathStatus } from "./shared/mod.ts";
import type { NodeStatus, PolicyStatus, PortMappingStatus, RelayOfferStatus } from "./status.ts";

/** The parts that have something to say. */
export interface MeshStatusParts {
  /** The node's name, key and mesh addresses. */
  readonly own: Pick<
    NodeStatus["node"],
    "name" | "askedName" | "publicKey" | "meshIpv4" | "meshIpv6"
  >;
  /** What the datapath says. */
  readonly datapath: DatapathStatus;
  /** What is decided about peers and relays. */
  readonly control: MeshControl;
  /** Who is in the mesh. */
  readonly members: readonly MeshMember[];
  /** Discovery's URL. */
  readonly url: string;
  /** What the gateways do. Absent: nobody was asked. */
  readonly portMapping?: readonly PortMappingStatus[];
  /** What the node offers as a relay. Absent: nothing. */
  readonly relayOffer?: RelayOfferStatus;
  /** What others may reach at this node. Absent: everything. */
  readonly policy?: PolicyStatus;
  /** Counters of the other parts. */
  readonly counters: Readonly<Record<string, number>>;
}

/** The node and its peers. */
export function meshStatus(
  { own, datapath, control, members, url, portMapping, relayOffer, policy, counters }:
    MeshStatusParts,
): NodeStatus {
  const { peers } = control;
  return {
    node: {
      ...own,
      nat: datapath.nat,
      endpoints: datapath.candidates.map(({ address }) => address),
      candidates: datapath.candidates,
      ...(portMapping && { portMapping }),
      datapath: datapath.driver,
      cipher: datapath.cipher,
      tun: datapath.tun,
    },
    relays: relayStatuses(datapath.relays),
    relayReason: control.relays.reason ?? null,
    ...(relayOffer && { relayOffer }),
    ...(policy && { policy }),
    discovery: { url, connected: control.connected },
    peers: datapath.peers.map((peer) => {
      const { publicKey } = peer;
      const known = peers.find(publicKey);
      const hint = control.hintOf(publicKey);
      return peerStatus(peer, {
        name: peers.nameOf(publicKey),
        meshIpv4: known?.meshIpv4 ?? null,
        meshIpv6: known?.meshIpv6 ?? null,
        mtu: MESH_MTU,
        candidates: known?.candidates ?? [],
        relays: datapath.relays,
        ...(hint !== undefined && { hint }),
      });
    }),
    members: members.map(({ ipv4: meshIpv4, ipv6: meshIpv6, ...member }) => ({
      ...member,
      meshIpv4,
      meshIpv6,
    })),
    counters: { ...datapath.counters, ...control.counters(), ...counters },
  };
}

/** What the node's own sockets have found out about the network; `families` are those that there is a way out by. */
export function meshNetcheck(
  { datapath, control, url, portMapping, relayOffer }: Omit<
    MeshStatusParts,
    "own" | "members" | "counters"
  >,
  families: Parameters<typeof nodeReport>[0]["families"],
): NetcheckReport {
  const { stunServers, nat, relays } = datapath;
  const mapped = portMapping?.map(({ protocol, gateway, external, reason }) => ({
    protocol: protocol ?? "none",
    gateway,
    external,
    reason,
  }));
  return nodeReport({
    families,
    stunServers,
    hint: nat.hint as NatHint,
    discovery: { url, connected: control.connected },
    portMapping: mapped ?? null,
    relays: relayStatuses(relays),
    ...(relayOffer && { relayOffer }),
  });
}

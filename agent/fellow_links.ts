/** What follows for peers and links when an agent's fellows change. Pure. @module */
import type { Instant } from "../core/mod.ts";
import type { Fellow, Fellows } from "./fellows.ts";
import type { MeshLinks } from "./mesh_links.ts";
import type { MeshPeers } from "./mesh_peers.ts";

/** Replaces the fellows. Returns those that may be peers no more. */
export function changeFellows(
  now: Instant,
  list: readonly Fellow[],
  { fellows, peers, links }: {
    readonly fellows: Fellows;
    readonly peers: MeshPeers;
    readonly links: MeshLinks;
  },
): readonly string[] {
  const { came, left, dropped } = fellows.set(list);
  for (const publicKey of dropped) links.punchNoMore(publicKey);
  for (const publicKey of left) {
    peers.gone(publicKey, now);
    if (links.find(publicKey)?.path !== "direct") links.punchNoMore(publicKey);
  }
  for (const publicKey of came) {
    peers.returned(publicKey);
    if (links.find(publicKey)?.path === "direct") continue;
    if (fellows.asks(publicKey)) links.punch(publicKey, fellows.punchAt(now));
    // Who is known already was told where it is when it came, or will be by a punch.
    else if (peers.find(publicKey) === undefined) fellows.search(publicKey, now);
  }
  return dropped;
}

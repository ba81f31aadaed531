/** One stream of an arena for tests, with the client it belongs to. @module */
import type { SharedArena } from "../arena.ts";
import type { DatapathClient } from "../datapath_client.ts";
import { SlotStream } from "../slot_stream.ts";

/** The slot that {@linkcode slotStream} takes. */
export const SLOT = 4;

/** Makes the stream of {@linkcode SLOT}, which hears of all that its client hears. */
export function slotStream(arena: SharedArena, client: DatapathClient): SlotStream {
  const stream = new SlotStream({
    client,
    slot: arena.slot(SLOT),
    local: { hostname: "10.42.0.1", port: 50000 },
    remote: { hostname: "10.42.0.2", port: 80 },
    onReleased: () => {},
  });
  client.attachStreams({
    accepted: () => {},
    dirty: () => stream.handleDirty(),
    closed: () => stream.handleDirty(),
  });
  return stream;
}

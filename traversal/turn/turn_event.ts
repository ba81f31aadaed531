/** What a TURN client is made of and what it tells. @module */
import type { Family, Rng, SocketAddress } from "../../core/mod.ts";
import type { StunCredentials } from "../stun/integrity.ts";
import type { LimitedNotice } from "./limited.ts";

/** What a client tells. */
export type TurnEvent =
  | {
    /** The relay carries. */
    readonly kind: "allocated";
    /** The relayed addresses, at most one per family. */
    readonly relayed: readonly SocketAddress[];
  }
  | {
    /** There is no allocation, and this client makes no further attempt. */
    readonly kind: "failed";
    /** The server's error; 0 where it gave none, `undefined` if it did not answer. */
    readonly code: number | undefined;
    /** Why, in one line of printable ASCII: in part the server's words. */
    readonly reason: string;
  }
  | {
    /** Another server has to be asked, and its address is not this client's to open: it is at the end of a stream. */
    readonly kind: "redirected";
    /** Where to. */
    readonly server: SocketAddress;
  }
  | {
    /** The relay is about to end and says so (a Refresh indication, as our relay sends): it carries for a while still. */
    readonly kind: "draining";
  }
  | {
    /** The relay drops what a limit of its does not let through (a Refresh indication with LIMITED, as our relay sends). */
    readonly kind: "limited";
    /** Whose limit, and how much was dropped so far. */
    readonly notice: LimitedNotice;
  }
  | {
    /** The allocation is gone, or cannot be reached any more. */
    readonly kind: "lost";
    /** Why, in one line. */
    readonly reason: string;
  };

/** A datagram of a peer that came through the relay. */
export interface RelayedDatagram {
  /** Who sent it to the relayed address. */
  readonly peer: SocketAddress;
  /** What it carries, borrowed like what it came in. */
  readonly data: Uint8Array;
}

/** Options of {@linkcode TurnClient}. */
export interface TurnClientOptions {
  /** Where requests go and answers come from. */
  readonly server: SocketAddress;
  /** Whether a stream carries all of it: nothing is sent again, ChannelData is padded by the caller. @default false */
  readonly reliable?: boolean;
  /** What the server knows. */
  readonly credentials: StunCredentials;
  /** Source of transaction ids. */
  readonly rng: Rng;
  /** Families of the relayed addresses, the first must be had; a second is welcome. @default [4, 6] */
  readonly families?: readonly [Family, Family?];
  /** How often the mapping to the server has to be used, in milliseconds. @default 25_000 */
  readonly keepaliveMs?: number;
  /** Number of the first channel, so that two clients on one socket and one server do not share any. @default 0x4000 */
  readonly firstChannel?: number;
}

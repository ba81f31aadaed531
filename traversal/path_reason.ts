/**
 * Why a peer is not reached directly, in one sentence for a person.
 *
 * @module
 */
import type { Instant } from "../core/mod.ts";
import { type NatCircumstances, varies } from "./guess.ts";

/** What a reason is found from. */
export interface ReasonClues {
  /** The present. */
  readonly now: Instant;
  /** Whether there is a session over a relay; otherwise there is none. */
  readonly relayed: boolean;
  /** Direct paths are switched off. */
  readonly noDirect: boolean;
  /** Distinct addresses known, relayed ones left out. */
  readonly endpoints: number;
  /** Relayed addresses known. */
  readonly relays: number;
  /** Initiations since the last connection. */
  readonly attempts: number;
  /** Whether any are still to come. */
  readonly trying: boolean;
  /** Probes that went out on direct paths in this session. */
  readonly probes: number;
  /** Their answers. */
  readonly replies: number;
  /** When anything was last authenticated; `undefined` for never. */
  readonly lastHeardAt: Instant | undefined;
  /** What is known of both NATs. */
  readonly nat: NatCircumstances | undefined;
  /** Guesses begun, their datagrams, and whether one is under way. */
  readonly guess: { readonly attempts: number; readonly sent: number; readonly running: boolean };
}

/** Says why. */
export function reasonOf(clues: ReasonClues): string {
  const { endpoints, relays, attempts, nat, noDirect, relayed } = clues;
  if (noDirect) {
    if (relayed) return "direct paths are switched off";
    if (relays === 0) return "direct paths are switched off, and no relay is known";
  } else if (endpoints + relays === 0) return "no endpoint of this peer is known";
  const cause = causeOf(nat);
  if (relayed) {
    const tried = `${plural(clues.probes, "probe")}, ${repliesOf(clues.replies)}`;
    return withGuess(cause === undefined ? tried : `${cause}; ${tried}`, clues);
  }
  const known = plural(endpoints + relays, "endpoint");
  if (attempts === 0) {
    return clues.trying ? `about to try ${known}` : `${known} known, no session was asked for`;
  }
  let text = `${plural(attempts, "handshake")} to ${known}, no answer`;
  if (cause !== undefined) text = `${cause}; ${text}`;
  const { now, lastHeardAt } = clues;
  if (lastHeardAt !== undefined) {
    text += `; last heard of ${Math.round((now - lastHeardAt) / 1000)} s ago`;
  }
  return withGuess(text, clues);
}

function causeOf(nat: NatCircumstances | undefined): string | undefined {
  if (nat === undefined) return undefined;
  if (nat.udpBlocked) return "UDP blocked here";
  const own = varies(nat.own);
  const peer = nat.peer === "NAT_SYMMETRIC";
  if (own && peer) return "mapping varies by destination on both sides";
  if (own && nat.peer === "NAT_RESTRICTED") {
    return "mapping varies by destination here, and the peer's NAT filters by port";
  }
  if (peer && nat.own.mapping === "endpointIndependent") {
    return "mapping varies by destination at the peer's side";
  }
  return undefined;
}

function withGuess(text: string, { guess }: ReasonClues): string {
  if (guess.attempts === 0) return text;
  const what = guess.running ? "guessing ports" : `${plural(guess.attempts, "guess", "guesses")}`;
  return `${text}; ${what}, ${plural(guess.sent, "datagram")} sent`;
}

function repliesOf(count: number): string {
  return count === 1 ? "1 reply" : `${count} replies`;
}

function plural(count: number, noun: string, many = `${noun}s`): string {
  return count === 1 ? `1 ${noun}` : `${count} ${many}`;
}

/** What the cases of several benchmarks share: two places, a tunnel between them, and a load through it. @module */
import { keyPair } from "../../tests/support/keys.ts";
import { Link } from "../../tests/support/link.ts";
import { unmet } from "../../tests/support/needs.ts";
import type { Scope } from "../../tests/support/scope.ts";
import { openUdp } from "../../tests/support/udp.ts";
import { writeConfig } from "../../tests/support/wireguard_pair.ts";
import type { RoundTrips } from "../load/protocol.ts";

/** Address of end A inside the tunnel. */
export const INNER_A = "10.9.0.1";
/** Address of end B inside the tunnel. */
export const INNER_B = "10.9.0.2";
/** Largest inner packet, as wg-quick assumes. */
export const MTU = 1420;

/** A place where one end of a tunnel runs. */
export interface End {
  /** Network namespace. Absent: ours. */
  readonly namespace?: string;
  /** Address outside the tunnel. */
  readonly ip: string;
}

/** Two places that reach each other. */
export interface Ends {
  /** The end that makes the load. */
  readonly a: End;
  /** The end that serves it. */
  readonly b: End;
}

/** What a bulk load is to be. */
export interface Bulk {
  /** `up`: from A to B. */
  readonly direction: "up" | "down";
  /** Streams at once. */
  readonly streams: number;
  /** Time that counts. */
  readonly seconds: number;
  /** Time at the start that does not. @default 0 */
  readonly skipSeconds?: number;
}

/** Makes traffic from A to B and back. */
export interface Load {
  /** Moves bytes and returns Mbit/s at the receiver. */
  bulk(bulk: Bulk): Promise<number>;
  /** Sends one byte there and back, `count` times. */
  roundTrip(count: number): Promise<RoundTrips>;
}

/** A tunnel that is up. */
export interface Tunnel {
  /** The processes that carry it, A's first. */
  readonly pids: readonly [number, number];
  /** How traffic is made. */
  readonly load: Load;
}

/** Keys of both ends, and where B listens. */
export interface Secrets {
  /** A's private key. */
  readonly privateA: string;
  /** A's public key. */
  readonly publicA: string;
  /** B's private key. */
  readonly privateB: string;
  /** B's public key. */
  readonly publicB: string;
  /** B's UDP port. */
  readonly port: number;
}

/** Two namespaces joined by a wire as root, else the loopback interface. */
export async function joinedEnds(scope: Scope): Promise<Ends> {
  if (unmet(["root"]) !== undefined) return { a: { ip: "127.0.0.1" }, b: { ip: "127.0.0.1" } };
  return scope.use(await Link.up());
}

/** B's port in a namespace; each tunnel takes the next, so that several fit into one. */
let nextPort = 51820;

/** Makes keys, and chooses B's port. */
export async function makeSecrets(scope: Scope, { b }: Ends): Promise<Secrets> {
  const [ofA, ofB] = [await keyPair(), await keyPair()];
  return {
    privateA: ofA.privateKey,
    publicA: ofA.publicKey,
    privateB: ofB.privateKey,
    publicB: ofB.publicKey,
    port: b.namespace === undefined ? freePort(scope) : nextPort++,
  };
}

/** Writes a WireGuard configuration file for each end and returns their paths, A's first. */
export async function writeConfigs(
  scope: Scope,
  { ends, secrets }: { readonly ends: Ends; readonly secrets: Secrets },
): Promise<readonly [string, string]> {
  const a = await writeConfig(scope, [
    "[Interface]",
    `PrivateKey = ${secrets.privateA}`,
    `Address = ${INNER_A}/24`,
    "[Peer]",
    `PublicKey = ${secrets.publicB}`,
    `AllowedIPs = ${INNER_B}/32`,
    `Endpoint = ${ends.b.ip}:${secrets.port}`,
  ]);
  const b = await writeConfig(scope, [
    "[Interface]",
    `PrivateKey = ${secrets.privateB}`,
    `Address = ${INNER_B}/24`,
    `ListenPort = ${secrets.port}`,
    "[Peer]",
    `PublicKey = ${secrets.publicA}`,
    `AllowedIPs = ${INNER_A}/32`,
  ]);
  return [a, b];
}

/** The namespace of an end as an option that is absent where there is none. */
export function placeOf({ namespace }: End): { readonly namespace?: string } {
  return namespace === undefined ? {} : { namespace };
}

/** A UDP port that is free now. */
function freePort(scope: Scope): number {
  const { socket, port } = openUdp(scope);
  socket.close();
  return port;
}

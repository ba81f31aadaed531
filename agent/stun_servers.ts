/**
 * Which STUN servers a node asks, and in which order: those that were configured, or Discovery's own; where none of them
 * answers, one that is open to the public.
 *
 * @module
 */
import { formatSocketAddress, type MorayError, type SocketAddress } from "../core/mod.ts";
import type { ProbeServer, StunCredentials } from "../traversal/mod.ts";
import { resolveEndpoints } from "./resolve_host.ts";

/** Asked only where neither the configuration nor Discovery has a server that answers; its name is not resolved before. */
export const PUBLIC_STUN_SERVER = "stun.cloudflare.com:3478";
/** Addresses of servers that are used. */
const SERVERS_MAX = 16;
/** How long the name of a server may take to be resolved. */
const RESOLVE_MS = 4000;

/** Who named a server. */
export type StunOrigin = "configured" | "discovery" | "default";

/** A server by its address. */
export interface StunServer extends ProbeServer {
  /** Who named it. */
  readonly origin: StunOrigin;
}

/** What there is to choose from. */
export interface StunSources {
  /** Servers of the configuration, `host:port`. */
  readonly configured: readonly string[];
  /** Servers that Discovery names, `host:port`. */
  readonly discovery: readonly string[];
  /** Credentials for Discovery's. */
  readonly credentials: StunCredentials | undefined;
}

/** Resolves the servers of one origin. Those that cannot be resolved are told to `onError`. */
export async function resolveStunServers(
  texts: readonly string[],
  { origin, credentials, onError }: {
    readonly origin: StunOrigin;
    readonly credentials?: StunCredentials | undefined;
    readonly onError: (error: MorayError) => void;
  },
): Promise<readonly StunServer[]> {
  const { promise: late, resolve } = Promise.withResolvers<readonly SocketAddress[]>();
  const timer = setTimeout(() => resolve([]), RESOLVE_MS);
  try {
    const addresses = await Promise.race([resolveEndpoints(texts, onError), late]);
    const servers = new Map<string, StunServer>();
    for (const address of addresses) {
      const server = { address, origin, ...credentials && { credentials } };
      if (servers.size < SERVERS_MAX) servers.set(formatSocketAddress(address), server);
    }
    return [...servers.values()];
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves what a node asks first: the configuration's servers, or Discovery's where there are none. */
export function resolveFirstServers(
  { configured, discovery, credentials }: StunSources,
  onError: (error: MorayError) => void,
): Promise<readonly StunServer[]> {
  return configured.length > 0
    ? resolveStunServers(configured, { origin: "configured", onError })
    : resolveStunServers(discovery, { origin: "discovery", credentials, onError });
}

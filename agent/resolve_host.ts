/** Resolves the names that the configuration gives for outer addresses. @module */
import { lookup } from "node:dns/promises";
import {
  canonicalIp,
  messageOf,
  MorayError,
  parseSocketAddress,
  type SocketAddress,
} from "../core/mod.ts";

/** Addresses taken of one name. */
const ADDRESSES_MAX = 8;

/** Resolves a host by the system's resolver. Rejects with `unreachable`. */
export async function resolveHost(host: string): Promise<readonly string[]> {
  const literal = canonicalIp(host);
  if (literal !== undefined) return [literal];
  try {
    const found = await lookup(host, { all: true });
    const addresses = found.map(({ address }) => canonicalIp(address));
    const valid = addresses.filter((address) => address !== undefined);
    if (valid.length > 0) return [...new Set(valid)].slice(0, ADDRESSES_MAX);
  } catch (error) {
    throw new MorayError("unreachable", `Cannot resolve ${host}: ${messageOf(error)}`, error);
  }
  throw new MorayError("unreachable", `Cannot resolve ${host}: it has no address`);
}

/** Resolves `host:port` texts to every address of every host. Those that cannot be resolved are told to `onError`. */
export async function resolveEndpoints(
  texts: readonly string[],
  onError: (error: MorayError) => void,
): Promise<readonly SocketAddress[]> {
  const resolved = await Promise.all(texts.map(async (text) => {
    const literal = parseSocketAddress(text);
    if (literal !== undefined) return [literal];
    const [, host = "", port = ""] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
    try {
      const addresses = await resolveHost(host);
      return addresses.map((hostname) => ({ hostname, port: Number(port) }));
    } catch (error) {
      onError(error instanceof MorayError ? error : new MorayError("internal", messageOf(error)));
      return [];
    }
  }));
  return resolved.flat().filter(({ port }) => port >= 1 && port <= 65535);
}

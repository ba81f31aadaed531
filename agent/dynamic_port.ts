/** Ports that nobody asked for by number. @module */
import { MorayError } from "../core/mod.ts";

/** Ports that the system may choose (RFC 6335 section 6). */
const DYNAMIC_PORT_MIN = 49_152;
const DYNAMIC_PORTS = 65_536 - DYNAMIC_PORT_MIN;
/** Ports that are tried. */
const ATTEMPTS_MAX = 64;

/**
 * Opens `port`, or for 0 any free one of those that nobody is registered for, by `random` (of [0, 1)). Throws what `open` throws,
 * `portInUse` once many are.
 */
export function openPort<T>(port: number, random: () => number, open: (port: number) => T): T {
  for (let attempt = 1;; attempt++) {
    const chosen = port !== 0 ? port : DYNAMIC_PORT_MIN + Math.floor(random() * DYNAMIC_PORTS);
    try {
      return open(chosen);
    } catch (error) {
      const taken = error instanceof MorayError && error.code === "portInUse";
      if (port !== 0 || !taken || attempt >= ATTEMPTS_MAX) throw error;
    }
  }
}

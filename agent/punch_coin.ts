/** What both sides of a punch decide alike. Pure. @module */

/** A number from 0 to 1 that looks like chance, and is the same for both sides of a punch. */
export function punchCoin(punchId: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < punchId.length; i++) {
    hash = Math.imul(hash ^ punchId.charCodeAt(i), 0x01000193);
    hash = Math.imul(hash ^ hash >>> 15, 0x85ebca6b);
  }
  return ((hash ^ hash >>> 13) >>> 0) / 2 ** 32;
}

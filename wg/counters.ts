/** Names of the engine's counters, in the order of `wg/engine/src/counter.rs`. @module */

/** The counters by index. Each says what was dropped or refused. */
export const COUNTER_NAMES = [
  "malformed",
  "badMac",
  "handshakeLimited",
  "cookieSent",
  "badInitiation",
  "unknownPeer",
  "unknownIndex",
  "refused",
  "replayed",
  "sourceNotAllowed",
  "notForUs",
  "noRoute",
  "noEndpoint",
  "queueFull",
  "eventLost",
  "transmitFull",
  "tunMalformed",
  "tunSource",
  "tunFull",
  "tunLoop",
  "probeRefused",
  "probeLimited",
  "tunTooBig",
  "tunFragmented",
  "udpMalformed",
  "udpFull",
  "policyRefused",
  "policyFragment",
  "policyMalformed",
  "policyStray",
  "flowEvicted",
] as const;

/** The name of a counter. */
export type CounterName = typeof COUNTER_NAMES[number];

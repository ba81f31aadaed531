/**
 * Finding a way to a peer through NATs. Pure: sockets, clock, entropy and the WireGuard engine belong to the caller.
 *
 * ```text
 *            datagram
 *               |  classify
 *      +--------+-----------+----------------+
 *      | stun               | wireguard      | channelData, other
 *      v                    v                v
 *   Gatherer             (engine) --------> PathAgent, one per peer
 *      |  one Binding       ^  authenticated    |  when to make an initiation, where to send it,
 *      |  transaction per   |                   |  which address is the peer's, why there is none
 *      |  server            +-------------------+
 *      v                           ^
 *   candidates, NAT facts ---> Discovery ---> the peer's candidates, checked with parseEndpoint
 *
 *   answerBinding, SourceLimiter: the server's side of STUN
 * ```
 *
 * ```ts
 * import { answerBinding, decodeStun, encodeStun, METHOD_BINDING, xorMappedAddress } from "./mod.ts";
 *
 * const transactionId = crypto.getRandomValues(new Uint8Array(12));
 * const payload = encodeStun({ class: "request", method: METHOD_BINDING, transactionId, attributes: [] });
 * const answer = answerBinding({ source: { hostname: "203.0.113.9", port: 40000 }, payload });
 * const response = answer && decodeStun(answer.payload);
 * console.log(response && xorMappedAddress(response)); // { hostname: "203.0.113.9", port: 40000 }
 * ```
 *
 * @module
 */
export * from "./candidate.ts";
export * from "./demux.ts";
export * from "./gatherer.ts";
export * from "./mapping_lifetime.ts";
export * from "./nat.ts";
export * from "./nat64.ts";
export * from "./nat_probe.ts";
export {
  type GuessClues,
  type GuessPlan,
  type NatCircumstances,
  planGuess,
  type PortSequence,
  sequenceOf,
  varies,
} from "./guess.ts";
export type { LocalRequest } from "./guess_run.ts";
export * from "./path.ts";
export * from "./path_agent.ts";
export { MTU_ASSUMED, MTU_FLOOR, OUTER_BYTES } from "./path_mtu.ts";
export * from "./path_report.ts";
export { FAN_OUT_MAX, RELAYS_MAX } from "./path_table.ts";
export * from "./port_allocation.ts";
export * from "./port_sample.ts";
export { type PathProbe, PROBE_BYTES } from "./probe_book.ts";
export * from "./probe_trials.ts";
export * from "./relay_end.ts";
export * from "./server_survey.ts";
export * from "./stun/behaviour_server.ts";
export * from "./port_mapping/mapping.ts";
export * from "./port_mapping/pcp.ts";
export * from "./port_mapping/port_control.ts";
export type { HttpLocation } from "./port_mapping/ssdp.ts";
export * from "./port_mapping/upnp.ts";
export * from "./port_mapping/upnp_control.ts";
export * from "./stun/binding_answers.ts";
export * from "./stun/binding_server.ts";
export * from "./stun/binding_transaction.ts";
export * from "./stun/codec.ts";
export * from "./stun/integrity.ts";
export * from "./stun/member_server.ts";
export * from "./stun/receipt.ts";
export { hmacSha1, sameDigest, sha1, SHA1_BYTES } from "./stun/sha1.ts";
export * from "./token_bucket.ts";
export * from "./turn/attributes.ts";
export * from "./turn/channel_data.ts";
export * from "./turn/credentials.ts";
export * from "./turn/stream_frames.ts";
export * from "./turn/limited.ts";
export * from "./turn/client.ts";
export * from "./turn/turn_event.ts";

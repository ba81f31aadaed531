/**
 * Finding a way to a peer through NATs: STUN, NAT classification, candidates and the path agent. Pure: sockets, clock
 * and entropy belong to the caller.
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
export * from "./stun/binding_server.ts";
export * from "./stun/codec.ts";
export * from "./stun/binding_transaction.ts";
export * from "./demux.ts";
export * from "./nat.ts";
export * from "./candidate.ts";
export * from "./gatherer.ts";
export * from "./path_agent.ts";

/** Registrations for tests. @module */
import { formatBase64 } from "../../core/mod.ts";
import type { NodeContent } from "../store/store.ts";

/** A key whose bytes are all `seed`. */
export function key(seed: number): string {
  return formatBase64(new Uint8Array(32).fill(seed));
}

/** A colony of mesh `reef` with key 1. */
export function colony(part: Partial<NodeContent> = {}): NodeContent {
  return {
    meshId: "reef",
    publicKey: key(1),
    role: "colony",
    agentId: "",
    name: "colony",
    endpoints: ["192.0.2.1:51820"],
    observedEndpoints: [{ ip: "203.0.113.1", port: 40001, viaRelay: false }],
    nat: 1,
    meshIpv4: "10.42.0.1",
    meshIpv6: "fd00::1",
    connectPort: 9000,
    publicPort: 0,
    publicEndpoint: "",
    metadata: { site: "home" },
    noRelay: false,
    proven: false,
    statement: "",
    sequence: 0,
    admission: "",
    ...part,
  };
}

/** Agent `a<seed>` of mesh `reef` with key `seed`. */
export function agent(seed: number, part: Partial<NodeContent> = {}): NodeContent {
  return {
    ...colony(),
    publicKey: key(seed),
    role: "agent",
    agentId: `a${seed}`,
    name: `a${seed}`,
    endpoints: [`192.0.2.${seed}:51820`],
    observedEndpoints: [],
    meshIpv4: "",
    meshIpv6: "",
    connectPort: 0,
    ...part,
  };
}

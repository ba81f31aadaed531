// deno-lint-ignore-file camelcase -- the names of the wasm exports
/**
 * The engine's exports and records as they lie in its memory; the other side is `wg/engine/src/abi.rs`.
 *
 * @module
 */

/** `Run`: datagrams of equal size (`wg/engine/src/transmit.rs`). */
export const RUN = {
  offset: 0,
  length: 4,
  segment: 8,
  peer: 12,
  kind: 16,
  address: 18,
  local: 38,
  bytes: 40,
} as const;

/** Kinds of run that are not sent like the others. */
export const RUN_KIND = { initiation: 1, probe: 5 } as const;

/** `Event` (`wg/engine/src/event.rs`). */
export const EVENT = {
  kind: 0,
  peer: 4,
  a: 8,
  b: 12,
  address: 16,
  key: 36,
  bytes: 68,
} as const;

/** `Address`: family u16, port u16, 16 bytes. A `Path` has the local end behind it, u16. */
export const ADDRESS = { family: 0, port: 2, ip: 4, bytes: 20 } as const;

/** `Part` (`wg/engine/src/tun/gro.rs`). */
export const PART = { offset: 0, length: 4, more: 8, bytes: 12 } as const;

/** The longest packet of a kernel interface, its virtio header included. */
export const TUN_INPUT_BYTES = 10 + 65_535;
/** Bytes of received datagrams in one batch. */
export const RECEIVE_BYTES = 1 << 20;
/** Received runs in one batch. */
export const RECEIVE_RUNS = 1024;
/** Arguments and stream bytes. */
export const SCRATCH_BYTES = 256 << 10;

/** State bits of a stream; the error is in bits 8 to 15. */
export const STREAM = { established: 1, receiveFinished: 2, closed: 4, errorShift: 8 } as const;

/** `Range` of `wg/engine/src/filter/ports.rs` as it crosses, the numbers of its protocols, and how many cross at once. */
export const PORT_RANGE = { protocol: 0, first: 2, last: 4, bytes: 8, max: 4096 } as const;
/** As `Protocol` there. */
export const PORT_PROTOCOLS = { any: 0, tcp: 1, udp: 2, icmp: 3 } as const;

/** What the module exports. */
export interface EngineExports {
  readonly memory: WebAssembly.Memory;
  /** Only where the linker made a reactor. */
  _initialize?(): void;
  offer_aead(): void;
  start(nowUs: number, mtu: number): void;
  scratch_pointer(): number;
  receive_pointer(): number;
  receive_runs_pointer(): number;
  transmit_pointer(): number;
  transmit_runs_pointer(): number;
  transmit_runs(): number;
  transmit_clear(): void;
  events_pointer(): number;
  events(): number;
  events_clear(): void;
  counters_pointer(): number;
  counters(): number;
  set_now(nowUs: number): void;
  receive(count: number): number;
  poll(): number;
  poll_timeout(): number;
  public_key(): void;
  filter_open(): void;
  set_ports(peer: number, count: number): void;
  cut_refused(): number;
  peer_refused(peer: number): number;
  set_addresses(count: number): number;
  add_peer(hasPresharedKey: number, keepaliveSeconds: number, hostRoams: number): number;
  remove_peer(peer: number): void;
  set_endpoint(peer: number): void;
  set_peer_mtu(peer: number, mtu: number, tunMtu: number): void;
  resume_streams(peer: number): void;
  probe(peer: number, sequence: number, bytes: number): number;
  allow(peer: number, prefix: number): number;
  initiate(peer: number): void;
  peer_figures(peer: number): number;
  connect(): number;
  listen(port: number): number;
  unlisten(port: number): void;
  stream_state(id: number): number;
  stream_local(id: number): number;
  stream_peek(id: number): number;
  stream_consume(id: number, n: number): void;
  stream_send(id: number, n: number): number;
  stream_space(id: number): number;
  stream_commit(id: number, n: number): void;
  stream_shutdown(id: number): void;
  stream_release(id: number, abort: number): void;
  echo(sequence: number, length: number): number;
  udp_bind(port: number): number;
  udp_close(port: number): void;
  udp_payload_pointer(): number;
  udp_send(port: number, n: number): number;
  udp_limit(): number;
  udp_received(): number;
  udp_received_pointer(): number;
  udp_received_clear(): void;
  tun_open(udp: number, firstPort: number, ports: number): void;
  tun_input_pointer(): number;
  tun_send(length: number): number;
  tun_finish(): number;
  tun_parts_pointer(): number;
  tun_output_pointer(): number;
  tun_clear(): void;
}

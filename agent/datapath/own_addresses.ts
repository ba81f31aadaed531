/** Where this node may be reached, as far as the main thread and the system tell: its interfaces, what gateways map, what is configured. @module */
import type { SocketAddress } from "../../core/mod.ts";
import {
  type Candidate,
  hostCandidates,
  type InterfaceAddress,
  mergeCandidates,
  parseEndpoint,
} from "../../traversal/mod.ts";

/** What {@linkcode OwnAddresses} is made of. */
export interface OwnAddressesOptions {
  /** The system's interfaces; asked at the start, and when the links have changed. */
  readonly interfaces: () => readonly InterfaceAddress[];
  /** A fixed public endpoint. */
  readonly publicEndpoint?: SocketAddress | undefined;
  /** The port that the node's sockets have. */
  readonly port: () => number;
}

/** The addresses of this node that no STUN server and no relay tells. */
export class OwnAddresses {
  readonly #options: OwnAddressesOptions;
  #interfaces: readonly InterfaceAddress[];
  /** Where gateways let peers in. */
  #mapped: readonly Candidate[] = [];

  /** Asks the system. */
  constructor(options: OwnAddressesOptions) {
    this.#options = options;
    this.#interfaces = options.interfaces();
  }

  /** The addresses of the interfaces. */
  get hosts(): readonly string[] {
    return this.#interfaces.map(({ address }) => address);
  }

  /** Asks the system again. */
  linkChanged(): void {
    this.#interfaces = this.#options.interfaces();
  }

  /** Takes where gateways let peers in; what is no endpoint is left out. */
  setMapped(addresses: readonly string[]): void {
    this.#mapped = addresses.map((text) => parseEndpoint(text))
      .filter((address) => address !== undefined)
      .map((address) => ({ kind: "portMapped", address }));
  }

  /** All candidates of the node, these and others, best first. */
  candidates(...others: readonly (readonly Candidate[])[]): readonly Candidate[] {
    const { publicEndpoint, port } = this.#options;
    const configured: Candidate[] = publicEndpoint === undefined
      ? []
      : [{ kind: "configured", address: publicEndpoint }];
    const hosts = hostCandidates(this.#interfaces, port());
    return mergeCandidates(hosts, configured, this.#mapped, ...others);
  }
}

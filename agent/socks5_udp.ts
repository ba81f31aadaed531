/** UDP ASSOCIATE (RFC 1928 section 7): a client's datagrams to the mesh and back, for as long as its connection lasts. @module */
import { formatSocketAddress, messageOf, MorayError, type SocketAddress } from "../core/mod.ts";
import { openPort } from "./dynamic_port.ts";
import { LocalDatagrams } from "./local_datagrams.ts";
import { DatagramTooLong, type Network } from "./network.ts";
import type { Log } from "./options.ts";
import { decodeSocks5Datagram, encodeSocks5Datagram } from "./socks5_datagram.ts";

/** Associations of one proxy at once. One more is refused and counted. */
export const ASSOCIATIONS_MAX = 256;
/** Mesh addresses that may answer: those that were sent to, of which the longest known goes for one more. */
const PEERS_MAX = 256;

/** What happened in the associations of a proxy since its start. */
export interface AssociationCounters {
  /** Associations begun. */
  readonly associations: number;
  /** Associations refused, since as many lived as may. */
  readonly associationsRefused: number;
  /** Datagrams carried from clients to the mesh. */
  readonly datagramsOut: number;
  /** Datagrams carried back. */
  readonly datagramsIn: number;
  /** Parts of datagrams from clients, which are not put together. */
  readonly fragments: number;
  /** Datagrams from clients that are none of SOCKS5. */
  readonly malformed: number;
  /** Datagrams from somebody else than the client, or than the client has sent to. */
  readonly strangers: number;
  /** Datagrams to names and addresses that are none of the mesh. */
  readonly unreachable: number;
  /** Datagrams that were longer than the path to the peer carries. */
  readonly tooLong: number;
  /** Datagrams for which there was no room. */
  readonly dropped: number;
  /** Datagrams that the peer says nobody takes. */
  readonly refused: number;
}

/** An association. */
export interface Association {
  /** Where the client sends its datagrams. */
  readonly address: SocketAddress;
  /** Ends it. Safe to call twice. */
  close(): Promise<void>;
}

/** The associations of one proxy. */
export class Socks5Associations {
  /** What happened. */
  readonly #counts: { -readonly [Name in keyof AssociationCounters]: number } = {
    associations: 0,
    associationsRefused: 0,
    datagramsOut: 0,
    datagramsIn: 0,
    fragments: 0,
    malformed: 0,
    strangers: 0,
    unreachable: 0,
    tooLong: 0,
    dropped: 0,
    refused: 0,
  };
  readonly #network: Network;
  readonly #log: Log;
  readonly #random: () => number;
  #active = 0;

  /** None yet. `random` gives numbers of [0, 1), by which mesh ports are chosen. */
  constructor(
    { network, log, random }: {
      readonly network: Network;
      readonly log: Log;
      readonly random: () => number;
    },
  ) {
    this.#network = network;
    this.#log = log;
    this.#random = random;
  }

  /** What happened since the start. */
  get counters(): AssociationCounters {
    return this.#counts;
  }

  /**
   * Begins an association for the client at `client`, of which the port may be 0: then it is the first that sends from that
   * address. `near` is the address that the client's connection came to. Throws `limit`, or what opening a socket throws.
   */
  open(client: SocketAddress, near: string): Association {
    if (this.#active >= ASSOCIATIONS_MAX) {
      this.#counts.associationsRefused++;
      throw new MorayError("limit", `${ASSOCIATIONS_MAX} associations are open`);
    }
    let port = client.port;
    const peers = new Set<string>();
    const mesh = openPort(0, this.#random, (chosen) =>
      this.#network.openDatagrams(chosen, {
        datagram: (payload, from) => {
          if (port === 0 || !peers.has(formatSocketAddress(from))) {
            this.#counts.strangers++;
            return;
          }
          this.#counts.datagramsIn++;
          local.send(encodeSocks5Datagram(from, payload), { hostname: client.hostname, port });
        },
        refused: () => {
          this.#counts.refused++;
        },
      }));
    const send = (payload: Uint8Array, to: SocketAddress): void => {
      const key = formatSocketAddress(to);
      const [longest] = peers;
      if (longest !== undefined && peers.size >= PEERS_MAX && !peers.has(key)) {
        peers.delete(longest);
      }
      peers.add(key);
      this.#counts.datagramsOut++;
      mesh.send(payload, to).catch((error: unknown) => this.#lost(error));
    };
    let local: LocalDatagrams;
    try {
      local = new LocalDatagrams({
        listen: { hostname: near, port: 0 },
        take: (bytes, from) => {
          if (from.hostname !== client.hostname || port !== 0 && from.port !== port) {
            this.#counts.strangers++;
            return;
          }
          if (this.#take(bytes, send)) port = from.port;
        },
      });
    } catch (error) {
      mesh.close();
      throw error;
    }
    this.#active++;
    this.#counts.associations++;
    let closed = false;
    const close = async (): Promise<void> => {
      if (!closed) {
        closed = true;
        this.#active--;
        mesh.close();
        this.#counts.dropped += local.dropped;
      }
      await local.close();
    };
    return { address: local.address, close };
  }

  /** Takes a client's datagram; false for what is none, by which nobody becomes the client. */
  #take(bytes: Uint8Array, send: (payload: Uint8Array, to: SocketAddress) => void): boolean {
    const datagram = decodeSocks5Datagram(bytes);
    switch (datagram.kind) {
      case "malformed":
        this.#counts.malformed++;
        return false;
      case "fragment":
        if (this.#counts.fragments++ === 0) this.#log("warn", "socks5: fragments are dropped");
        return true;
      case "datagram": {
        const { host, port, payload } = datagram;
        const hostname = this.#network.resolve(host);
        if (hostname !== undefined) send(payload, { hostname, port });
        else this.#lost(new MorayError("unreachable", `No node is called ${host}`));
        return true;
      }
    }
  }

  #lost(error: unknown): void {
    const unreachable = error instanceof MorayError && error.code === "unreachable";
    const kind = error instanceof DatagramTooLong
      ? "tooLong"
      : unreachable
      ? "unreachable"
      : "dropped";
    if (this.#counts[kind]++ === 0) this.#log("info", `socks5: datagrams: ${messageOf(error)}`);
  }
}

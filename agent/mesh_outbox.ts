/** What a mesh node's control wants done and has to say, until the node around it takes that. Pure. @module */
import type { MeshEvent, MeshRequest } from "./mesh_messages.ts";
import type { Log } from "./options.ts";
import { type PeerCommand, PeerCommands } from "./peer_commands.ts";
import type { CommandBody, RelayInfo } from "./shared/mod.ts";

/** Events not yet taken; the oldest is dropped and counted. A node that drains after each call never has as many. */
const EVENTS_MAX = 1024;

/** Commands to the datapath, requests to Discovery, and events, each in the order in which they came. */
export class MeshOutbox {
  readonly #nodeCommands: CommandBody[] = [];
  readonly #peerCommands = new PeerCommands();
  #relays: readonly RelayInfo[] | undefined;
  readonly #requests: MeshRequest[] = [];
  readonly #events: MeshEvent[] = [];
  #dropped = 0;

  /** Events dropped at the limit. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Adds a command about the node itself; those go before what concerns peers. */
  command(command: CommandBody): void {
    this.#nodeCommands.push(command);
  }

  /** Replaces the relays; of several times before it is taken, the last counts. */
  setRelays(relays: readonly RelayInfo[]): void {
    this.#relays = relays;
  }

  /** Adds a command about a peer. */
  peerCommand(command: PeerCommand): void {
    this.#peerCommands.push(command);
  }

  /** Adds a request to Discovery. */
  request(request: MeshRequest): void {
    this.#requests.push(request);
  }

  /** Adds an event. */
  emit(event: MeshEvent): void {
    if (this.#events.length === EVENTS_MAX) {
      this.#events.shift();
      this.#dropped++;
    }
    this.#events.push(event);
  }

  /** Adds a line for the log. */
  say(...[level, message, fields]: Parameters<Log>): void {
    this.emit({ kind: "log", level, message, ...(fields && { fields }) });
  }

  /** Takes the next command. */
  pollCommand(): CommandBody | undefined {
    const relays = this.#relays;
    if (relays === undefined) return this.#nodeCommands.shift() ?? this.#peerCommands.poll();
    this.#relays = undefined;
    return { kind: "setRelays", relays };
  }

  /** Takes the next request. */
  pollRequest(): MeshRequest | undefined {
    return this.#requests.shift();
  }

  /** Takes the next event. */
  pollEvent(): MeshEvent | undefined {
    return this.#events.shift();
  }
}

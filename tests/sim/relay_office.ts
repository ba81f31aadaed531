/**
 * Relays as Discovery knows them: its own registry chooses, from what relays report of themselves; sessions have a life.
 *
 * @module
 */
import type { ErrorCode } from "../../core/mod.ts";
import type { GrantedRelay } from "../../agent/relay_control.ts";
import type { MeshAnswer, MeshRequest } from "../../agent/mesh_messages.ts";
import type { RelayTransportInfo } from "../../agent/shared/mod.ts";
import type { RelayReport } from "../../discovery/relay/report.ts";
import { relayCredentials, relaySessionId } from "../../discovery/service/relay_credentials.ts";
import { type OfferedRelay, RelayRegistry } from "../../discovery/service/relay_registry.ts";
import type { Chance } from "./random.ts";
import { RELAY_SECRET } from "./relay.ts";

type RelayRequest = MeshRequest & { readonly kind: "requestRelay" };

/** A session. */
interface Session {
  readonly publicKey: string;
  readonly relayId: string;
  readonly sessionId: string;
}

/** Sessions of one node: one of each relay. */
const SESSIONS_PER_NODE_MAX = 8;

/** The part of Discovery that grants relays. */
export class RelayOffice {
  readonly #chance: Chance;
  readonly #lifeMs: number;
  #registry = new RelayRegistry([]);
  #sessions: Session[] = [];

  /** Knows no relay. Sessions live for `lifeMs`. */
  constructor({ chance, lifeMs }: { readonly chance: Chance; readonly lifeMs: number }) {
    this.#chance = chance;
    this.#lifeMs = lifeMs;
  }

  /** Forgets the relays, as every restart does, and the sessions if its store was in memory. */
  restart({ forgetful }: { readonly forgetful: boolean }): void {
    this.#registry = new RelayRegistry([]);
    if (forgetful) this.#sessions = [];
  }

  /** Takes a relay's report of itself. */
  report(unixMs: number, report: RelayReport): void {
    this.#registry.report(unixMs, report, RELAY_SECRET);
  }

  /** Whether a relay can be asked for now. */
  offers(unixMs: number, id: string): boolean {
    return this.#registry.offered(unixMs).some((relay) => relay.id === id);
  }

  /** Sessions that a node has. */
  sessionsOf(publicKey: string): number {
    return this.#sessions.filter((session) => session.publicKey === publicKey).length;
  }

  /** Answers a node of a mesh. `willing`: neither it nor its colony wants none. */
  grant(
    unixMs: number,
    { meshId, publicKey }: { readonly meshId: string; readonly publicKey: string },
    request: RelayRequest,
    willing: boolean,
  ): MeshAnswer {
    const failed = (code: ErrorCode, message: string): MeshAnswer => (
      { kind: "failed", request, code, message }
    );
    if (!willing) return failed("refused", "the node, or its peer, wants no relay");
    const wish = { meshId, relayId: request.relayId, region: "", failed: request.failed };
    const relay = this.#registry.choose(unixMs, wish);
    if (relay === undefined) return failed("refused", "no relay is available now");
    const sessionId = this.#sessionOf(publicKey, meshId, relay.id);
    if (sessionId === undefined) return failed("limit", "the node has too many relay sessions");
    return { kind: "relayGranted", request, granted: this.#granted(unixMs, relay, sessionId) };
  }

  /** A session is given back. */
  release(sessionId: string): void {
    this.#sessions = this.#sessions.filter((session) => session.sessionId !== sessionId);
  }

  /** A node's registration has ended. */
  left(publicKey: string): void {
    this.#sessions = this.#sessions.filter((session) => session.publicKey !== publicKey);
  }

  /** The session that a node has of a relay, or a new one. */
  #sessionOf(publicKey: string, meshId: string, relayId: string): string | undefined {
    const known = this.#sessions.find((session) =>
      session.publicKey === publicKey && session.relayId === relayId
    );
    if (known !== undefined) return known.sessionId;
    if (this.sessionsOf(publicKey) >= SESSIONS_PER_NODE_MAX) return undefined;
    const random = Array.from(
      this.#chance.bytes(16),
      (byte) => byte.toString(16).padStart(2, "0"),
    ).join("");
    const sessionId = relaySessionId({ meshId, publicKey }, random);
    this.#sessions.push({ publicKey, relayId, sessionId });
    return sessionId;
  }

  #granted(unixMs: number, { id, transports }: OfferedRelay, sessionId: string): GrantedRelay {
    const lifeMs = this.#lifeMs;
    const expiresAt = unixMs + lifeMs;
    return {
      relay: {
        id,
        sessionId,
        transports: transports.map(({ endpoint }): RelayTransportInfo => (
          { kind: "udp", address: endpoint }
        )),
        ...relayCredentials(RELAY_SECRET, { sessionId, expiresAt }),
        expiresAtMs: expiresAt,
      },
      lifeMs,
      choices: this.#registry.offered(unixMs).map(({ id, region, load }) => (
        { relayId: id, region, load }
      )),
    };
  }
}

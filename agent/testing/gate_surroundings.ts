/** What is around a mesh's gate in its tests: a Discovery that keeps what is published, and what the gate has done. @module */
import { MorayError } from "../../core/mod.ts";
import type {
  DiscoveryFeatures,
  Membership,
  MembershipList,
  NewsQuery,
} from "../../discovery/mod.ts";
import type { GateSurroundings } from "../membership/gatekeeper.ts";

/** Features of our own Discovery. */
const FEATURES = { punch: true, watch: true, deregister: true, relay: false, members: true };

/** Surroundings that a test looks at. */
export class RecordedSurroundings implements GateSurroundings {
  /** What was published, in order. */
  readonly published: MembershipList[] = [];
  /** The keys that were thrown out. */
  readonly expelled: string[] = [];
  /** The key that each of them gave way to. */
  readonly successors: (string | undefined)[] = [];
  /** Which news were asked for. */
  readonly asked: NewsQuery[] = [];
  /** How often something of a node that is out was said to have ended. */
  ended = 0;
  /** Whether Discovery does not answer. */
  away = false;
  /** What Discovery says is news. */
  news: readonly Membership[] = [];
  /** What Discovery can do. */
  features: DiscoveryFeatures = FEATURES;
  /** Discovery. */
  readonly client: GateSurroundings["client"];

  /** Nothing has happened. */
  constructor() {
    const featuresNow = (): DiscoveryFeatures => this.features;
    this.client = {
      get features(): DiscoveryFeatures {
        return featuresNow();
      },
      publishMembership: (list) => this.#answer(() => void this.published.push(list)),
      membershipNews: (query) =>
        this.#answer(() => {
          this.asked.push(query);
          return this.news;
        }),
    };
  }

  /** A node was thrown out. */
  readonly onExpelled = (publicKey: string, next?: string): void => {
    this.expelled.push(publicKey);
    this.successors.push(next);
  };

  /** What it had at Discovery has ended. */
  readonly onEnded = (): void => void this.ended++;

  #answer<T>(body: () => T): Promise<T> {
    if (this.away) return Promise.reject(new MorayError("unreachable", "Discovery is away"));
    return Promise.resolve().then(body);
  }
}

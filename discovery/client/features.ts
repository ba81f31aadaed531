/** What a server can do, beyond what a plain Coral Discovery can. @module */

/** What a server can do beyond Coral's methods. */
export interface DiscoveryFeatures {
  /** Coordinated punches. */
  readonly punch: boolean;
  /** Watch streams. Without them: poll with lookups. */
  readonly watch: boolean;
  /** Removal at once. Without it: registrations expire. */
  readonly deregister: boolean;
  /** Relays. Without them: peers are reached directly or not at all. */
  readonly relay: boolean;
  /** Reports of paths, for its operator. @default false */
  readonly paths?: boolean;
  /** Relays that nodes run for their own mesh, which are given to registered nodes only. @default false */
  readonly volunteers?: boolean;
  /** Every record is signed by its node. Without it: nodes may have records that they have not signed. @default false */
  readonly statements?: boolean;
  /** Colonies say who belongs to their mesh. Without it: whoever comes is registered. @default false */
  readonly members?: boolean;
}

/** Returns what a server's own list of features says. */
export function featuresOf(features: readonly string[]): DiscoveryFeatures {
  const has = (feature: string): boolean => features.includes(feature);
  return {
    punch: has("punch"),
    watch: has("watch"),
    deregister: has("deregister"),
    relay: has("relay"),
    ...(has("paths") && { paths: true }),
    ...(has("volunteer") && { volunteers: true }),
    ...(has("members") && { members: true }),
    ...(has("statement") && { statements: true }),
  };
}

/** The shape of a command, and the list of them. Each loads only when it is asked for. @module */
import type { Context } from "./context.ts";
import type { Parameters, Settings } from "./parameter.ts";

/** A command: what it takes, what it says of itself, what it does. */
export interface Command {
  /** Its parameters by property. */
  readonly parameters: Parameters;
  /** What it does: a paragraph for the help page. */
  readonly description: string;
  /** Command lines to copy. */
  readonly examples: readonly string[];
  /** Does it and returns the exit status. `settings` are those of `parameters`. */
  run(settings: Readonly<Record<string, unknown>>, context: Context): Promise<number>;
}

/** Ties a command's parameters to the type of its settings. */
export function defineCommand<P extends Parameters>(command: {
  readonly parameters: P;
  readonly description: string;
  readonly examples: readonly string[];
  readonly run: (settings: Settings<P>, context: Context) => Promise<number>;
}): Command {
  return {
    ...command,
    run: (settings, context) => command.run(settings as Settings<P>, context),
  };
}

/** An entry of the list of commands. */
export interface CommandEntry {
  /** The word on the command line. */
  readonly name: string;
  /** One line for the overview. */
  readonly brief: string;
  /** Loads the command. */
  load(): Promise<Command>;
}

/**
 * Every command, in the order of the overview. The imports are literal so that the bundler finds them, and `as string` so that
 * `deno run` does not read them all at every start (decision 0044).
 */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "demo",
    brief: "Show a whole mesh on this machine: two nodes, and a page through the tunnel",
    load: async () => (await import("./demo.ts" as string) as typeof import("./demo.ts")).command,
  },
  {
    name: "discovery",
    brief: "Run the Discovery service with STUN, where nodes find each other",
    load: async () =>
      (await import("./discovery.ts" as string) as typeof import("./discovery.ts")).command,
  },
  {
    name: "relay",
    brief: "Run a relay (TURN) for nodes that find no direct path",
    load: async () => (await import("./relay.ts" as string) as typeof import("./relay.ts")).command,
  },
  {
    name: "colony",
    brief: "Run the node that a mesh gathers around",
    load: async () =>
      (await import("./colony.ts" as string) as typeof import("./colony.ts")).command,
  },
  {
    name: "agent",
    brief: "Run a node that joins a mesh",
    load: async () => (await import("./agent.ts" as string) as typeof import("./agent.ts")).command,
  },
  {
    name: "wireguard",
    brief: "Run a plain WireGuard peer from a configuration file, without Discovery",
    load: async () =>
      (await import("./wireguard.ts" as string) as typeof import("./wireguard.ts")).command,
  },
  {
    name: "status",
    brief: "Show a running node, its peers and the paths to them",
    load: async () =>
      (await import("./status.ts" as string) as typeof import("./status.ts")).command,
  },
  {
    name: "peers",
    brief: "List the peers of a running node",
    load: async () => (await import("./peers.ts" as string) as typeof import("./peers.ts")).command,
  },
  {
    name: "invite",
    brief: "Print one string by which a new agent joins the mesh",
    load: async () =>
      (await import("./invite.ts" as string) as typeof import("./invite.ts")).command,
  },
  {
    name: "revoke",
    brief: "Throw a node out of the mesh",
    load: async () =>
      (await import("./revoke.ts" as string) as typeof import("./revoke.ts")).command,
  },
  {
    name: "ping",
    brief: "Measure the round trip to a peer through the tunnel",
    load: async () => (await import("./ping.ts" as string) as typeof import("./ping.ts")).command,
  },
  {
    name: "netcheck",
    brief: "Examine the network: NAT, public addresses, STUN, and what they mean for connections",
    load: async () =>
      (await import("./netcheck.ts" as string) as typeof import("./netcheck.ts")).command,
  },
  {
    name: "rotate",
    brief: "Give a node another key, which its peers follow",
    load: async () =>
      (await import("./rotate.ts" as string) as typeof import("./rotate.ts")).command,
  },
  {
    name: "keygen",
    brief: "Print a new WireGuard private key",
    load: async () =>
      (await import("./keygen.ts" as string) as typeof import("./keygen.ts")).command,
  },
  {
    name: "pubkey",
    brief: "Print the public key of the private key on stdin",
    load: async () =>
      (await import("./pubkey.ts" as string) as typeof import("./pubkey.ts")).command,
  },
  {
    name: "completions",
    brief: "Print the completion script for a shell",
    load: async () =>
      (await import("./completions.ts" as string) as typeof import("./completions.ts")).command,
  },
  {
    name: "help",
    brief: "Explain a command, or the exit codes",
    load: async () => (await import("./help.ts" as string) as typeof import("./help.ts")).command,
  },
];

/** Returns the entry of a command; `undefined` if there is none of that name. */
export function commandEntry(name: string): CommandEntry | undefined {
  return COMMANDS.find((entry) => entry.name === name);
}

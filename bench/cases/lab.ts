/** Links with delay, loss and narrow places: the NAT laboratory without a NAT. @module */
import { Lab } from "../../tests/support/natlab.ts";
import type { Scope } from "../../tests/support/scope.ts";
import type { Ends } from "./tunnel.ts";

/** How a link treats packets, each way, in natbox's words (tests/natlab/README.md). */
export interface Link {
  /** Its name in JSON and on the command line. */
  readonly name: string;
  /** Its name for people. */
  readonly title: string;
  /** Settings that differ from {@linkcode STRAIGHT}. */
  readonly settings: Readonly<Record<string, string>>;
}

/** Two ends and a link between them that can be changed while it runs. */
export interface ShapedEnds extends Ends {
  /** Makes the link like this from now on. */
  shape(link: Link): Promise<void>;
  /** Packets that the laboratory lost because it was too slow; more than none and nothing else counts. */
  overrun(): Promise<number>;
}

/** A link that does nothing. */
const STRAIGHT: Readonly<Record<string, string>> = {
  delay: "0ms",
  jitter: "0ms",
  loss: "0%",
  burst: "1",
  dup: "0%",
  reorder: "0%",
  rgap: "10ms",
  rate: "0",
  queue: "100ms",
};

const SITE = "b";

/** Opens a laboratory: end A is a server at the core, end B a host behind the link. */
export async function shapedEnds(scope: Scope): Promise<ShapedEnds> {
  const lab = scope.use(await Lab.up("bench", { servers: ["a"], sites: [`${SITE}=none`] }));
  const host = `${SITE}1`;
  return {
    a: { namespace: lab.namespace("a"), ip: lab.address("a") },
    b: { namespace: lab.namespace(host), ip: lab.address(host) },
    async shape({ settings }): Promise<void> {
      const all = Object.entries({ ...STRAIGHT, ...settings });
      await lab.ctl(SITE, `set ${all.map(([key, value]) => `${key}=${value}`).join(",")}`);
    },
    async overrun(): Promise<number> {
      return (JSON.parse(await lab.ctl(SITE, "stats")) as { overrun: number }).overrun;
    },
  };
}

/** Which pairs of networks must connect how: the table behind `matrix_test.ts`. @module */

/** Where a node of a pair is. */
export interface Place {
  /** Site in {@linkcode SITES}. */
  readonly site: string;
  /** Which of the site's hosts. @default 1 */
  readonly host?: number;
  /** The family that Discovery is reached by from there. @default 4 */
  readonly family?: 4 | 6;
}

/** A colony and an agent that wants to reach it. */
export interface MatrixPair {
  /** For people: colony's network x agent's network. */
  readonly title: string;
  /** The colony's place. Pairs with the same one share the colony. */
  readonly colony: Place;
  /** The agent's place. */
  readonly agent: Place;
  /** The family of the path, or `lan` for one that does not leave the site. @default 4 */
  readonly over?: 4 | 6 | "lan";
  /** Whether the ports have to be guessed or predicted, which may take a second attempt. @default false */
  readonly guessed?: boolean;
  /** Whether no direct path exists that anybody could find: it must be relayed. @default false */
  readonly relayed?: boolean;
}

/** The sites of the one lab, in the words of `natlab up`: as many as there are different networks. */
export const SITES: readonly string[] = [
  ...["fullcone", "restricted", "portrestricted", "symmetric"].flatMap((type) => [
    `c${type.slice(0, 4)}=${type}`,
    `a${type.slice(0, 4)}=${type}`,
  ]),
  "ccgn=cgnat",
  "acgn=cgnat",
  "cseq=symseq",
  "aseq=symseq",
  "caddr=symaddr",
  "aaddr=symaddr",
  "afw=fw",
  "csix=v6",
  "asix=v6",
  "cdual=symmetric,v6=on",
  "adual=symmetric,v6=on",
  "both=portrestricted,hosts=2",
  "isp=cgn",
  "chome=cgnat,behind=isp",
  "ahome=cgnat,behind=isp",
  "ablock=udpblocked",
];

const CLASSIC: readonly string[] = ["fullcone", "restricted", "portrestricted", "symmetric"];

/** All 16 ordered pairs of the classic types. */
export const CLASSIC_PAIRS: readonly MatrixPair[] = CLASSIC.flatMap((colony) =>
  CLASSIC.map((agent) => {
    const sites = [`c${colony.slice(0, 4)}`, `a${agent.slice(0, 4)}`] as const;
    return pair(`${colony} x ${agent}`, sites, needs(colony, agent));
  })
);

/** Everything else. */
export const OTHER_PAIRS: readonly MatrixPair[] = [
  pair("portrestricted x cgnat", ["cport", "acgn"]),
  pair("cgnat x portrestricted", ["ccgn", "aport"]),
  pair("cgnat x cgnat of another carrier", ["ccgn", "acgn"]),
  pair("cgnat x symmetric", ["ccgn", "asymm"], { guessed: true }),
  pair("fullcone x symseq", ["cfull", "aseq"]),
  pair("portrestricted x symseq", ["cport", "aseq"], { guessed: true }),
  pair("symseq x symseq", ["cseq", "aseq"], { guessed: true }),
  pair("restricted x symaddr", ["crest", "aaddr"]),
  pair("portrestricted x symaddr", ["cport", "aaddr"], { guessed: true }),
  pair("symaddr x symaddr", ["caddr", "aaddr"], { relayed: true }),
  pair("portrestricted x public host behind a firewall", ["cport", "afw"]),
  pair("symmetric x public host behind a firewall", ["csymm", "afw"], { guessed: true }),
  pair("IPv6 only x IPv6 only, firewalls", ["csix", "asix"], { over: 6 }),
  pair("IPv6 only x dual stack", ["csix", "adual"], { over: 6 }),
  pair("dual stack x dual stack, symmetric for IPv4", ["cdual", "adual"], { over: 6 }),
  pair("IPv6 only x IPv4 only", ["csix", "afull"], { relayed: true }),
  {
    title: "two hosts behind one NAT without hairpin",
    colony: { site: "both", host: 1 },
    agent: { site: "both", host: 2 },
    over: "lan",
  },
  pair("two NATs behind one carrier with hairpin", ["chome", "ahome"]),
  pair("fullcone x a network without UDP", ["cfull", "ablock"], { relayed: true }),
];

/** The lab's host at a place. */
export function hostOf({ site, host = 1 }: Place): string {
  return `${site}${host}`;
}

function pair(
  title: string,
  [colony, agent]: readonly [string, string],
  more: Pick<MatrixPair, "over" | "guessed" | "relayed"> = {},
): MatrixPair {
  return { title, colony: placeAt(colony), agent: placeAt(agent), ...more };
}

function placeAt(site: string): Place {
  return { site, ...(site.endsWith("six") && { family: 6 }) };
}

/** What a classic pair needs beside punching. */
function needs(colony: string, agent: string): Pick<MatrixPair, "guessed" | "relayed"> {
  const hard = [colony, agent].filter((type) => type === "symmetric").length;
  if (hard === 2) return { relayed: true };
  return { guessed: hard === 1 && [colony, agent].includes("portrestricted") };
}

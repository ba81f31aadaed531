/** Where a process's time goes, by what `perf report` says of its symbols; pure. @module */

/** Kinds of work, in the order of the table. */
export const KINDS = [
  "encryption",
  "TCP",
  "WireGuard and the engine",
  "JavaScript",
  "copies",
  "kernel",
  "runtime",
] as const;

/** One of {@linkcode KINDS}. */
export type Kind = typeof KINDS[number];

/** One line of the report. */
export interface Sample {
  /** Share of the process's samples in percent. */
  readonly percent: number;
  /** Program, library or JIT that the symbol is in. */
  readonly object: string;
  /** The symbol, with perf's mark for kernel or user in front. */
  readonly symbol: string;
}

/** Rules in the order in which they are tried. */
const RULES: readonly (readonly [Kind, RegExp])[] = [
  ["copies", /mem(move|cpy|set)|_copy_(to|from)_iter|copy_user|rep_movs|clear_page/i],
  ["kernel", /^\[k\]/],
  ["encryption", /4ring|poly1305|chacha|blake2/i],
  ["TCP", /_3tcp|gvisor/],
  ["WireGuard and the engine", /9boringtun|6engine|7smoltcp|wireguard|JS:_R|wasm/i],
  ["JavaScript", /JS:|Builtin:|BytecodeHandler:|\bStub:|RegExp:/],
];

/** Reads what `perf report --stdio --field-separator=; --fields=overhead,dso,symbol` prints. */
export function parsePerfReport(text: string): readonly Sample[] {
  return text.split("\n").flatMap((line) => {
    const [percent = "", object = "", ...symbol] = line.split(";");
    const share = Number(percent.trim().replace("%", ""));
    if (line.startsWith("#") || symbol.length === 0 || Number.isNaN(share)) return [];
    return [{ percent: share, object: object.trim(), symbol: symbol.join(";").trim() }];
  });
}

/** The native cipher: its own file, or in the compiled program a file in memory. Its symbols are stripped. */
const CIPHER = /aead/;

/** What kind of work a symbol is. */
export function kindOf({ object, symbol }: Sample): Kind {
  if (CIPHER.test(object)) return "encryption";
  return RULES.find(([, pattern]) => pattern.test(symbol))?.[0] ?? "runtime";
}

/** Percent of the samples by kind, all of them together a hundred. */
export function sharesOf(samples: readonly Sample[]): Readonly<Record<Kind, number>> {
  const sum = samples.reduce((total, { percent }) => total + percent, 0);
  const shares = Object.fromEntries(KINDS.map((kind) => [kind, 0])) as Record<Kind, number>;
  for (const sample of samples) shares[kindOf(sample)] += sample.percent / sum * 100;
  return shares;
}

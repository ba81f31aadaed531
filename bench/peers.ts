/**
 * `deno task bench:peers`: builds whatever the benchmarks compare with and is not there yet, and says what cannot be had.
 *
 * @module
 */
import { messageOf } from "../core/mod.ts";
import { unmet } from "../tests/support/needs.ts";
import { say } from "../tests/support/say.ts";
import { wireguardGo } from "../tests/support/wireguard_go.ts";
import { built } from "./peers/cache.ts";
import { BORINGTUN, NATIVE, nativeProgram, netstackProgram, ONETUN } from "./peers/programs.ts";

const PEERS: Readonly<Record<string, () => Promise<string>>> = {
  "wireguard-go": async () => {
    const reason = unmet(["wireguard-go"]);
    if (reason !== undefined) throw new Error(reason);
    return await wireguardGo();
  },
  "wireguard-go netstack": async () => await built(await netstackProgram()),
  ...Object.fromEntries(
    NATIVE.map((name) => [name, async () => await built(await nativeProgram(name))]),
  ),
  "boringtun-cli": () => built(BORINGTUN),
  onetun: () => built(ONETUN),
};

if (import.meta.main) {
  for (const [name, build] of Object.entries(PEERS)) {
    const outcome = await build().catch((error) => `not there: ${messageOf(error)}`);
    say(`${name.padEnd(24)}${outcome}`);
  }
}

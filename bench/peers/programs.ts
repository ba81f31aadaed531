/** The programs that the benchmarks compare with or make load with: where they come from, and in which version. @module */
import { must } from "../../tests/support/child.ts";
import { ROOT } from "../../tests/support/needs.ts";
import { wireguardGo } from "../../tests/support/wireguard_go.ts";
import type { Versions } from "../environment.ts";
import { type BuiltProgram, fingerprint } from "./cache.ts";

const NETSTACK = `${ROOT}bench/peers/netstack`;
const CARGO = { cargo: "cargo", cc: "gcc" };

/** wireguard-go with gVisor's TCP on top, both ends in one program of ours. */
export async function netstackProgram(): Promise<BuiltProgram> {
  const sources = ["main.go", "go.mod", "go.sum"].map((name) => `${NETSTACK}/${name}`);
  return {
    name: `netstack-${await fingerprint(sources)}`,
    needs: { go: "golang" },
    build: (path) => ({
      command: ["go", "build", "-trimpath", "-mod=readonly", "-o", path, "."],
      cwd: NETSTACK,
    }),
  };
}

/** The native programs of ours, each one file of C in `bench/native/`. */
export const NATIVE = [
  "tcp_ping",
  "http_load",
  "stun_load",
  "turn_load",
  "udp_flood",
  "start_time",
] as const;

/** One of our native programs. */
export async function nativeProgram(name: typeof NATIVE[number]): Promise<BuiltProgram> {
  const source = `${ROOT}bench/native/${name}.c`;
  return {
    name: `${name}-${await fingerprint([source])}`,
    needs: { cc: "gcc" },
    build: (path) => ({ command: ["cc", "-O2", "-pthread", "-o", path, source] }),
  };
}

/** boringtun's own command line, on a TUN device. */
export const BORINGTUN: BuiltProgram = cargoProgram("boringtun-cli", "0.7.1");
/** A userspace WireGuard on boringtun and smoltcp that forwards ports. */
export const ONETUN: BuiltProgram = cargoProgram("onetun", "0.3.10");

/** Versions for the results. */
export const VERSIONS = {
  "wireguard-go": () => goModule(wireguardGo, "golang.zx2c4.com/wireguard"),
  gvisor: async () => {
    const lock = await Deno.readTextFile(`${NETSTACK}/go.mod`);
    return /^\s*gvisor\.dev\/gvisor (\S+)/m.exec(lock)?.[1] ?? "unknown";
  },
  "boringtun-cli": () => Promise.resolve("0.7.1"),
  onetun: () => Promise.resolve("0.3.10"),
} satisfies Versions;

function cargoProgram(name: string, version: string): BuiltProgram {
  return {
    name: `cargo-${name}-${version}/bin/${name}`,
    needs: CARGO,
    build: (path) => ({
      command: ["cargo", "install", "--locked", "--root", rootOf(path), "--version", version, name],
    }),
  };
}

function rootOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/bin/"));
}

/** The version of a module inside a Go program. */
async function goModule(program: () => Promise<string>, module: string): Promise<string> {
  const text = await must(["go", "version", "-m", await program()]);
  const row = text.split("\n").find((line) => line.split("\t").includes(module));
  return row?.split("\t")[3] ?? "unknown";
}

/** `moray wireguard --tun` at both ends of a link, or wireguard-go at the far one: kernel to kernel through the tunnel. @module */
import { keyPair } from "./keys.ts";
import { Link, type LinkEnd } from "./link.ts";
import { Moray, type Program } from "./moray.ts";
import type { Scope } from "./scope.ts";
import { WireGuardGo } from "./wireguard_go.ts";
import { writeConfig } from "./wireguard_pair.ts";

/** How the pair is set up. */
export interface TunPairOptions {
  /** Our program. */
  readonly program: Program;
  /** What the far end is. @default "moray" */
  readonly far?: "moray" | "wireguard-go";
  /** Further flags of the near end. @default [] */
  readonly flags?: readonly string[];
}

/** One end of a {@linkcode TunPair}. */
export interface TunEnd extends LinkEnd {
  /** Its IPv4 address inside the tunnel. */
  readonly inner: string;
  /** Its IPv6 address inside the tunnel. */
  readonly inner6: string;
  /** The process that carries the tunnel. */
  readonly pid: number;
}

/** A tunnel between the kernels of two namespaces. */
export interface TunPair {
  /** The near end, which calls the far one. */
  readonly a: TunEnd;
  /** The far end. */
  readonly b: TunEnd;
  /** The near end's program. */
  readonly moray: Moray;
}

/** The near end's interface. */
export const TUN_NAME = "moray0";
const PORT = 51820;

/** Starts both ends. Everything ends with the scope. */
export async function startTunPair(
  scope: Scope,
  { program, far = "moray", flags = [] }: TunPairOptions,
): Promise<TunPair> {
  const link = scope.use(await Link.up());
  const [ours, theirs] = [await keyPair(), await keyPair()];
  const [a, b] = [inside(link.a, 1), inside(link.b, 2)];
  let farPid: number;
  if (far === "moray") {
    const config = await writeConfig(scope, [
      "[Interface]",
      `PrivateKey = ${theirs.privateKey}`,
      `Address = ${b.inner}/24, ${b.inner6}/64`,
      `ListenPort = ${PORT}`,
      "[Peer]",
      `PublicKey = ${ours.publicKey}`,
      `AllowedIPs = ${a.inner}/32, ${a.inner6}/128`,
    ]);
    const other = await Moray.start(["wireguard", config, "--tun", "far0"], {
      program,
      namespace: b.namespace,
    });
    farPid = scope.use(other).child.pid;
  } else {
    const other = await WireGuardGo.start({
      namespace: b.namespace,
      privateKey: theirs.privateKey,
      address: `${b.inner}/24`,
      address6: `${b.inner6}/64`,
      listenPort: PORT,
      peerPublicKey: ours.publicKey,
      allowedIps: `${a.inner}/32,${a.inner6}/128`,
      quiet: true,
    });
    farPid = scope.use(other).child.pid;
  }
  const config = await writeConfig(scope, [
    "[Interface]",
    `PrivateKey = ${ours.privateKey}`,
    `Address = ${a.inner}/24, ${a.inner6}/64`,
    "[Peer]",
    `PublicKey = ${theirs.publicKey}`,
    `AllowedIPs = ${b.inner}/32, ${b.inner6}/128`,
    `Endpoint = ${b.ip}:${PORT}`,
    "PersistentKeepalive = 25",
  ]);
  const moray = scope.use(
    await Moray.start(["wireguard", config, "--tun", TUN_NAME, ...flags], {
      program,
      namespace: a.namespace,
    }),
  );
  return { a: { ...a, pid: moray.child.pid }, b: { ...b, pid: farPid }, moray };
}

function inside(end: LinkEnd, n: number): Omit<TunEnd, "pid"> {
  return { ...end, inner: `10.9.0.${n}`, inner6: `fd09::${n}` };
}

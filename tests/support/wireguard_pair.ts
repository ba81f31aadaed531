/** `moray wireguard` on one end of a link and wireguard-go on the other, with keys made for the occasion. @module */
import { startWebServer } from "./http.ts";
import { keyPair, presharedKey } from "./keys.ts";
import { Link } from "./link.ts";
import { Moray, type Program } from "./moray.ts";
import type { Scope } from "./scope.ts";
import { WireGuardGo } from "./wireguard_go.ts";

/** How the pair is set up. */
export interface PairOptions {
  /** Our side's program. */
  readonly program: Program;
  /** Who knows the other's endpoint, and so must speak first. */
  readonly initiator: "moray" | "wireguard-go";
}

/** A running pair, a web server on each side of it, and ways from each side to the other's. */
export interface WireGuardPair {
  /** The wire. Ours is end `a`. */
  readonly link: Link;
  /** Our side. */
  readonly moray: Moray;
  /** The other side. */
  readonly peer: WireGuardGo;
  /** From our namespace through `--forward`: wireguard-go's web server. */
  readonly forward: string;
  /** SOCKS5 port in our namespace. */
  readonly socks5: string;
  /** wireguard-go's web server, as addressed inside the tunnel. */
  readonly peerWeb: string;
  /** Our `--expose`d web server, as wireguard-go's side addresses it. */
  readonly ourWeb: string;
}

/** Our address inside the tunnel. */
export const OUR_IP = "10.9.0.1";
/** wireguard-go's address inside the tunnel. */
export const PEER_IP = "10.9.0.2";
const PORT = 51820;

/** Writes a configuration file with mode 0600 and returns its path. */
export async function writeConfig(scope: Scope, lines: readonly string[]): Promise<string> {
  const file = `${scope.directory()}/wg.conf`;
  await Deno.writeTextFile(file, `${lines.join("\n")}\n`, { mode: 0o600 });
  return file;
}

/** Starts both sides and the web servers. Everything ends with the scope. */
export async function startPair(
  scope: Scope,
  { program, initiator }: PairOptions,
): Promise<WireGuardPair> {
  const link = scope.use(await Link.up());
  const [ours, theirs, psk] = [await keyPair(), await keyPair(), presharedKey()];
  const peer = scope.use(
    await WireGuardGo.start({
      namespace: link.b.namespace,
      privateKey: theirs.privateKey,
      address: `${PEER_IP}/24`,
      listenPort: PORT,
      peerPublicKey: ours.publicKey,
      presharedKey: psk,
      allowedIps: `${OUR_IP}/32`,
      ...(initiator === "wireguard-go" ? { endpoint: `${link.a.ip}:${PORT}` } : {}),
    }),
  );
  const config = await writeConfig(scope, [
    "# as wg-quick reads it",
    "[Interface]",
    `PrivateKey = ${ours.privateKey}`,
    `Address = ${OUR_IP}/24`,
    `ListenPort = ${PORT}`,
    "",
    "[Peer]",
    `PublicKey = ${theirs.publicKey}`,
    `PresharedKey = ${psk}`,
    `AllowedIPs = ${PEER_IP}/32`,
    ...(initiator === "moray" ? [`Endpoint = ${link.b.ip}:${PORT}`] : []),
  ]);
  const here = await startWebServer(scope, { namespace: link.a.namespace });
  const peerWeb = await startWebServer(scope, {
    namespace: link.b.namespace,
    listen: `${PEER_IP}:8080`,
  });
  const started = scope.use(
    await Moray.start([
      "wireguard",
      config,
      "--socks5",
      "127.0.0.1:0",
      "--forward",
      `127.0.0.1:0:${peerWeb}`,
      "--expose",
      `8081:${here}`,
    ], { program, namespace: link.a.namespace }),
  );
  return {
    link,
    moray: started,
    peer,
    forward: started.address("forward"),
    socks5: started.address("socks5"),
    peerWeb,
    ourWeb: `${OUR_IP}:8081`,
  };
}

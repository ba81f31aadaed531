/** The web server and the transfers that tests run through the tunnel. @module */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { MIB, testSha256, testStream } from "./bytes.ts";
import { Child, digest, run } from "./child.ts";
import { ROOT } from "./needs.ts";
import type { Scope } from "./scope.ts";

/** Where a transfer is made from. */
export interface TransferOptions {
  /** Network namespace of the client. Absent: ours. */
  readonly namespace?: string;
  /** SOCKS5 proxy as `host:port`; names are resolved there. Absent: none. */
  readonly socks5?: string;
  /** Size of the body. */
  readonly mib: number;
  /** Deadline. @default 120_000 */
  readonly timeoutMs?: number;
}

/** Starts a web server and returns the address it listens on as `host:port`. */
export async function startWebServer(
  scope: Scope,
  { listen = "127.0.0.1:0", namespace }: { listen?: string; namespace?: string } = {},
): Promise<string> {
  const script = `${ROOT}tests/support/web_server.ts`;
  const child = new Child([Deno.execPath(), "run", "-A", script, "--listen", listen], {
    namespace,
    cwd: ROOT,
  });
  scope.use(child);
  return (await child.line(/^ready http=/)).slice("ready http=".length);
}

/** Fetches `mib` MiB with curl and checks size and SHA-256. Returns the seconds that it took. */
export async function curlDownload(origin: string, options: TransferOptions): Promise<number> {
  const { mib, timeoutMs = 120_000 } = options;
  const from = performance.now();
  const got = await digest([...curl(options), `${origin}/bytes?mib=${mib}`], {
    namespace: options.namespace,
    timeoutMs,
  });
  assertEquals(
    { code: got.code, bytes: got.bytes, sha256: got.sha256 },
    { code: 0, bytes: mib * MIB, sha256: testSha256(mib * MIB) },
    `curl ${origin}: ${got.stderr}`,
  );
  return (performance.now() - from) / 1000;
}

/** Uploads `mib` MiB with curl and checks what the server says it received. Returns the seconds that it took. */
export async function curlUpload(
  scope: Scope,
  origin: string,
  options: TransferOptions,
): Promise<number> {
  const { mib, timeoutMs = 120_000 } = options;
  const file = `${scope.directory()}/body`;
  await Deno.writeFile(file, testStream(mib * MIB));
  const from = performance.now();
  const { code, stdout, stderr } = await run(
    [...curl(options), "--upload-file", file, `${origin}/upload`],
    { namespace: options.namespace, timeoutMs },
  );
  assertEquals(
    { code, stdout },
    { code: 0, stdout: `${testSha256(mib * MIB)} ${mib * MIB}\n` },
    `curl ${origin}: ${stderr}`,
  );
  return (performance.now() - from) / 1000;
}

/** The beginning of a command line of curl: through a proxy where there is one, and through no other. */
export function curl({ socks5, timeoutMs = 120_000 }: Omit<TransferOptions, "mib">): string[] {
  const limit = String(Math.ceil(timeoutMs / 1000));
  return [
    "curl",
    "--silent",
    "--show-error",
    "--fail",
    "--noproxy",
    socks5 === undefined ? "*" : "",
    "--max-time",
    limit,
    ...(socks5 === undefined ? [] : ["--socks5-hostname", socks5]),
  ];
}

/** Coral-style clients: Connect for Go with the schema as Coral deploys it, built once and kept; and plain JSON by `fetch`. @module */
import { must } from "./child.ts";
import { ROOT, toolFolder, which } from "./needs.ts";

const SOURCE = `${ROOT}tests/support/coral`;
/** Downloading and compiling on a slow machine. */
const BUILD_MS_MAX = 400_000;

/** A call: the method's name and its message in JSON. */
export type CoralCall = readonly [method: string, message: Readonly<Record<string, unknown>>];

/** How a call was answered. */
export interface CoralAnswer {
  /** The method. */
  readonly method: string;
  /** Connect's name of an error's code. Absent: there was none. */
  readonly code?: string;
  /** The error's message. */
  readonly error?: string;
  /** The answer. */
  readonly message?: Readonly<Record<string, unknown>>;
}

/** How the Go client speaks. */
export interface GoClientOptions {
  /** Base URL. */
  readonly url: string;
  /** The protocol. @default "connect" */
  readonly protocol?: "connect" | "grpc" | "grpcweb";
  /** The form of messages. @default "json" */
  readonly codec?: "json" | "proto";
  /** Speaks our schema instead of Coral's: with `proto` their numbers differ. @default false */
  readonly ours?: boolean;
  /** PEM file of the certificate to trust. Absent: the system's. */
  readonly authority?: string;
}

/** Makes calls with Connect for Go, in order, and returns the answers. */
export async function callByGo(
  calls: readonly CoralCall[],
  { url, protocol = "connect", codec = "json", ours = false, authority }: GoClientOptions,
): Promise<CoralAnswer[]> {
  const schema = ours
    ? ["-root", `${ROOT}proto`, "-schema", "coral/discovery/v1/discovery.proto"]
    : ["-root", SOURCE];
  const trusted = authority === undefined ? [] : ["-authority", authority];
  const file = await Deno.makeTempFile({ prefix: "moray-calls-" });
  try {
    await Deno.writeTextFile(file, calls.map((call) => `${JSON.stringify(call)}\n`).join(""));
    const flags = ["-url", url, "-protocol", protocol, "-codec", codec, "-calls", file];
    const text = await must([await build(), ...flags, ...schema, ...trusted]);
    return text.trim().split("\n").map((line) => JSON.parse(line) as CoralAnswer);
  } finally {
    await Deno.remove(file);
  }
}

/** Makes calls as anybody can, with JSON over POST, and returns the answers. */
export async function callByFetch(
  calls: readonly CoralCall[],
  url: string,
): Promise<CoralAnswer[]> {
  const answers: CoralAnswer[] = [];
  for (const [method, message] of calls) {
    const response = await fetch(`${url}/coral.discovery.v1.DiscoveryService/${method}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(message),
    });
    const json = await response.json();
    answers.push(
      response.status === 200
        ? { method, message: json }
        : { method, code: json.code, error: json.message },
    );
  }
  return answers;
}

async function build(): Promise<string> {
  const names = ["main.go", "go.mod", "go.sum"];
  const parts = await Promise.all(names.map((name) => Deno.readFile(`${SOURCE}/${name}`)));
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  const path = `${toolFolder()}/coral-client-${new Uint8Array(digest).slice(0, 6).toHex()}`;
  if (which(path) !== undefined) return path;
  await Deno.mkdir(toolFolder(), { recursive: true });
  const command = ["nice", "-n", "19", which("go") ?? "go", "build", "-trimpath", "-mod=readonly"];
  await must([...command, "-o", path, "."], { cwd: SOURCE, timeoutMs: BUILD_MS_MAX });
  return path;
}

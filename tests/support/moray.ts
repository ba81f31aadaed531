/**
 * The program under test: `deno run -A main.ts` or the compiled binary, in this namespace or another.
 *
 * ```ts ignore
 * const colony = scope.use(await Moray.start(["colony", "--mesh", "m", ...], { program: SOURCE }));
 * const port = colony.port("wg");
 * ```
 *
 * @module
 */
import { Child, type ChildOptions, type Output, run } from "./child.ts";
import { binaryPath, ROOT } from "./needs.ts";
import type { Scope } from "./scope.ts";

/** How the program is invoked. */
export interface Program {
  /** For test names. */
  readonly name: "source" | "binary";
  /** The command in front of the arguments, and how it is started. */
  readonly command: readonly string[];
  /** Environment and working directory. */
  readonly options: ChildOptions;
}

/** `deno run -A main.ts`. */
export const SOURCE: Program = {
  name: "source",
  command: [Deno.execPath(), "run", "-A", `${ROOT}main.ts`],
  // Deno itself asks for news of Deno, which is no packet of ours.
  options: { cwd: ROOT, env: { DENO_NO_UPDATE_CHECK: "1" } },
};

/** The compiled program, copied alone into an empty directory, started with an empty environment. */
export function aloneBinary(scope: Scope): Program {
  const built = binaryPath();
  if (built === undefined) throw new Error("There is no compiled program");
  const folder = scope.directory();
  Deno.copyFileSync(built, `${folder}/moray`);
  Deno.chmodSync(`${folder}/moray`, 0o755);
  return {
    name: "binary",
    command: [`${folder}/moray`],
    options: { cwd: folder, clearEnv: true, env: {} },
  };
}

/** Where and how long. */
export interface MorayOptions {
  /** Which program. @default SOURCE */
  readonly program?: Program;
  /** Network namespace. Absent: ours. */
  readonly namespace?: string;
  /** How long it may take to be ready, or for a command to end. @default 30_000 */
  readonly timeoutMs?: number;
}

/** A running `discovery`, `colony`, `agent` or `wireguard`. */
export class Moray implements AsyncDisposable {
  /** The process. */
  readonly child: Child;
  /** The `ready` line. */
  readonly ready: string;

  private constructor(child: Child, ready: string) {
    this.child = child;
    this.ready = ready;
  }

  /** Starts the program and waits for its `ready` line. */
  static async start(
    args: readonly string[],
    { program = SOURCE, namespace, timeoutMs = 30_000 }: MorayOptions = {},
  ): Promise<Moray> {
    const env = environmentOf(program, namespace);
    const child = new Child([...program.command, ...args], { ...program.options, env, namespace });
    try {
      return new Moray(child, await child.line(/^ready\b/, timeoutMs));
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Every `key=value` of the ready line with that key. */
  addresses(key: string): string[] {
    return this.ready.split(/[\s,]+/).filter((word) => word.startsWith(`${key}=`))
      .map((word) => word.slice(key.length + 1));
  }

  /** The first address with that key. */
  address(key: string): string {
    const [first] = this.addresses(key);
    if (first === undefined) throw new Error(`No ${key}= in: ${this.ready}`);
    return first;
  }

  /** The port of the first address with that key. */
  port(key: string): number {
    return Number(/(\d+)\/?$/.exec(this.address(key))?.[1]);
  }

  /** Ends it with SIGTERM and returns the exit code; rejects if that takes longer than `timeoutMs`. */
  stop(timeoutMs?: number): Promise<number> {
    return this.child.stop(timeoutMs);
  }

  /** Ends it, by force if need be. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.child[Symbol.asyncDispose]();
  }
}

/** Runs a command of the program to its end. */
export function moray(
  args: readonly string[],
  { program = SOURCE, namespace, timeoutMs = 30_000 }: MorayOptions = {},
): Promise<Output> {
  const options = { ...program.options, env: environmentOf(program, namespace) };
  return run([...program.command, ...args], { ...options, namespace, timeoutMs });
}

/** The gateway of the machine that runs the tests is none of theirs. */
function environmentOf(
  { options: { env } }: Program,
  namespace: string | undefined,
): Record<string, string> {
  return namespace === undefined ? { MORAY_NO_PORT_MAPPING: "true", ...env } : { ...env };
}

/** A real browser for tests. @module */
import { type Browser, chromium } from "playwright-core";
import { which } from "./needs.ts";
import type { Scope } from "./scope.ts";

/** Where it runs, and by which way it leaves. */
export interface ChromiumOptions {
  /** Network namespace. Absent: ours. */
  readonly namespace?: string;
  /** URL of its proxy, which resolves names too. Absent: none. */
  readonly proxy?: string;
}

/** Chromium as Debian has it, without a window; ended with the scope. */
export async function startChromium(
  scope: Scope,
  { namespace, proxy }: ChromiumOptions = {},
): Promise<Browser> {
  const chromiumPath = which("chromium");
  if (chromiumPath === undefined) throw new Error("There is no chromium");
  const executablePath = namespace === undefined
    ? chromiumPath
    : await enteringScript(scope, namespace, chromiumPath);
  // Its own sandbox wants namespaces that containers do not give to root; what it shows here is ours.
  const options = { executablePath, args: ["--no-sandbox"] };
  const browser = await chromium.launch({
    ...options,
    ...(proxy !== undefined && { proxy: { server: proxy } }),
  });
  scope.defer(() => browser.close());
  return browser;
}

/** Playwright starts one file: one that enters the namespace first. */
async function enteringScript(scope: Scope, namespace: string, program: string): Promise<string> {
  const path = `${scope.directory()}/chromium`;
  const enter = `exec nsenter --net=/run/netns/${namespace} -- ${program} "$@"`;
  await Deno.writeTextFile(path, `#!/bin/sh\n${enter}\n`, { mode: 0o755 });
  return path;
}

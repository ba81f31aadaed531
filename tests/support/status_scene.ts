/** A Discovery with a status page, a relay, a colony and agents, in real processes on 127.0.0.1: what browsers look at. @module */
import type { Page } from "playwright-core";
import { Moray, type Program, SOURCE } from "./moray.ts";
import { eventually, type Scope } from "./scope.ts";

/** The token of the scene's page. */
export const SCENE_TOKEN = "tide-pool-at-dawn-42";
/** The secret of its relays. */
export const SCENE_RELAY_SECRET = "relay-secret-of-the-scene-0123456789";

/** The scene. */
export interface StatusScene {
  /** Discovery's URL. */
  readonly url: string;
  /** Its process. */
  readonly discovery: Moray;
  /** The agents by name: `kelp` and `coral-1` are reached directly, `urchin` over the relay. */
  readonly agents: Readonly<Record<"kelp" | "coral-1" | "urchin", Moray>>;
  /** State directories, whose key files hold secrets. */
  readonly states: readonly string[];
}

/** Starts it, and waits until Discovery knows every path. */
export async function startStatusScene(
  scope: Scope,
  { program = SOURCE }: { readonly program?: Program } = {},
): Promise<StatusScene> {
  const args = ["discovery", "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"];
  args.push("--store", ":memory:", "--status-token", SCENE_TOKEN, "--relay");
  args.push("--relay-listen", "127.0.0.1:0", "--relay-external-ip", "127.0.0.1");
  args.push("--relay-allow-private-peers", "--relay-secret", SCENE_RELAY_SECRET);
  const discovery = scope.use(await Moray.start(args, { program }));
  const url = `http://${discovery.address("http")}`;
  const states: string[] = [];
  const node = async (role: string, name: string, ...more: string[]): Promise<Moray> => {
    const state = scope.directory();
    states.push(state);
    const common = ["--mesh", "reef", "--discovery", url, "--state", state, "--name", name];
    const quiet = ["--no-port-mapping", "--wg-port", "0"];
    return scope.use(await Moray.start([role, ...common, ...quiet, ...more], { program }));
  };
  await node("colony", "colony", "--open");
  const agents = {
    kelp: await node("agent", "kelp"),
    "coral-1": await node("agent", "coral-1"),
    urchin: await node("agent", "urchin", "--no-direct"),
  };
  await eventually("every path to be reported", async () => {
    const page = await fetch(url, { headers: { authorization: `Bearer ${SCENE_TOKEN}` } });
    const rows = textRows(await page.text());
    const reported = (name: string, kind: string): boolean =>
      rows.some((row) => row.startsWith(`${name} agent`) && row.includes(` ${kind} `));
    return (reported("kelp", "direct") && reported("coral-1", "direct") &&
      reported("urchin", "relayed")) || undefined;
  }, { timeoutMs: 60_000 });
  return { url, discovery, agents, states };
}

/** The rows of a page's tables as text. */
export function textRows(page: string): string[] {
  return [...page.matchAll(/<tr[^>]*>([\s\S]*?)<\/tr>/g)].map(([, row = ""]) =>
    row.replaceAll(/<[^>]*>/g, " ").replaceAll(/\s+/g, " ").trim()
  );
}

/** Signs in on a page, by keyboard alone. */
export async function signIn(page: Page, url: string): Promise<void> {
  await page.goto(url);
  // The field has the focus from the start, which is a moment after the page is loaded.
  await page.locator("#token:focus").waitFor();
  await page.keyboard.type(SCENE_TOKEN);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#nodes");
}

/** What the kernel tells of links, in a namespace of its own. */
import { ok as assert } from "node:assert/strict";
import { Child, must } from "./support/child.ts";
import { Link } from "./support/link.ts";
import { ROOT } from "./support/needs.ts";
import { e2e, eventually } from "./support/scope.ts";

e2e("LinkMonitor hears of addresses, carriers and default routes at once, and of nothing else", {
  needs: ["full", "root"],
  timeoutMs: 60_000,
}, async (scope) => {
  const { a, b } = scope.use(await Link.up());
  const { namespace } = a;
  const ip = (...args: string[]): Promise<string> => must(["ip", ...args], { namespace });
  const script = `${ROOT}tests/support/link_events.ts`;
  const child = scope.use(new Child([Deno.execPath(), "run", "-A", script], { namespace }));
  await child.line(/^ready/, 30_000);
  const lines = (word: string): number =>
    child.log.split("\n").filter((line) => line === word).length;
  const count = (): number => lines("changed");
  /** What happens, and whether it matters. */
  const step = async (
    matters: boolean,
    what: string,
    act: () => Promise<unknown>,
  ): Promise<void> => {
    const before = count();
    await act();
    if (matters) {
      await eventually(what, () => count() > before || undefined, {
        timeoutMs: 5000,
        everyMs: 10,
      });
      return;
    }
    const read = lines("read");
    child.signal("SIGUSR1");
    await eventually("it to be read", () => lines("read") > read || undefined);
    assert(count() === before, `${what}: ${count() - before} changes too many`);
  };
  await step(true, "an address that comes", () => ip("addr", "add", "192.0.2.9/24", "dev", "eth0"));
  await step(
    false,
    "an address that is renewed",
    () =>
      ip(
        "addr",
        "replace",
        "192.0.2.9/24",
        "dev",
        "eth0",
        "valid_lft",
        "3600",
        "preferred_lft",
        "3600",
      ),
  );
  await step(true, "a default route", () => ip("route", "add", "default", "via", b.ip));
  await step(
    false,
    "a narrow route",
    () => ip("route", "add", "198.51.100.0/24", "via", b.ip),
  );
  await step(false, "a container's bridge", async () => {
    await ip("link", "add", "docker0", "type", "veth", "peer", "name", "veth9");
    await ip("addr", "add", "172.17.0.1/16", "dev", "docker0");
    await ip("link", "set", "docker0", "up");
  });
  await must(["ip", "link", "set", b.device, "down"], { namespace: b.namespace });
  await eventually("the carrier to be gone", async () => {
    return (await ip("link", "show", "eth0")).includes("NO-CARRIER") || undefined;
  });
  await step(
    true,
    "a carrier that returns",
    () => must(["ip", "link", "set", b.device, "up"], { namespace: b.namespace }),
  );
  await step(true, "an address that goes", () => ip("addr", "del", "192.0.2.9/24", "dev", "eth0"));
});

import { deepStrictEqual as assertEquals, throws as assertThrows } from "node:assert/strict";
import { type Cidr, formatCidr, parseCidr } from "../../core/mod.ts";
import { TunRoutes } from "./tun_routes.ts";

function blocks(...texts: string[]): Cidr[] {
  return texts.map(parseCidr).filter((block) => block !== undefined);
}

function table(): { routes: TunRoutes; changes: () => string[] } {
  const seen: string[] = [];
  const routes = new TunRoutes((change, block) => seen.push(`${change} ${formatCidr(block)}`));
  return { routes, changes: () => seen.splice(0) };
}

Deno.test("TunRoutes adds a peer's blocks once and removes them with the peer", () => {
  const { routes, changes } = table();
  routes.set("a", blocks("10.0.0.2/32", "fd00::2/128"));
  assertEquals(changes(), ["add 10.0.0.2/32", "add fd00::2/128"]);
  routes.set("a", blocks("10.0.0.2/32", "fd00::2/128"));
  assertEquals(changes(), []);
  routes.set("a", []);
  assertEquals(changes(), ["remove 10.0.0.2/32", "remove fd00::2/128"]);
  routes.set("a", []);
  assertEquals(changes(), []);
});

Deno.test("TunRoutes changes only what differs when a peer's blocks change", () => {
  const { routes, changes } = table();
  routes.set("a", blocks("10.0.0.0/24", "10.0.1.0/24"));
  changes();
  routes.set("a", blocks("10.0.1.0/24", "10.0.2.0/24"));
  assertEquals(changes(), ["remove 10.0.0.0/24", "add 10.0.2.0/24"]);
});

Deno.test("TunRoutes keeps a block that a later peer has taken over until both have gone", () => {
  const { routes, changes } = table();
  routes.set("a", blocks("10.0.0.0/24"));
  routes.set("b", blocks("10.0.0.0/24"));
  assertEquals(changes(), ["add 10.0.0.0/24"]);
  routes.set("a", []);
  assertEquals(changes(), []);
  routes.set("b", []);
  assertEquals(changes(), ["remove 10.0.0.0/24"]);
});

Deno.test("TunRoutes leaves the networks of its own addresses to the kernel, and default routes to the user", () => {
  const { routes, changes } = table();
  routes.setConnected(blocks("10.9.0.0/24"));
  const left = routes.set("a", blocks("0.0.0.0/0", "10.9.0.0/24", "10.9.0.2/32", "::/0"));
  assertEquals(changes(), ["add 10.9.0.2/32"]);
  assertEquals(left.map(formatCidr), ["0.0.0.0/0", "::/0"]);
});

Deno.test("TunRoutes does not take a route for its own that the kernel refused", () => {
  let refuse = true;
  const seen: string[] = [];
  const routes = new TunRoutes((change, block) => {
    if (refuse) throw new Error("refused");
    seen.push(`${change} ${formatCidr(block)}`);
  });
  assertThrows(() => routes.set("a", blocks("10.0.0.0/24")), /refused/);
  refuse = false;
  routes.set("a", []);
  assertEquals(seen, []);
  routes.set("a", blocks("10.0.0.0/24"));
  assertEquals(seen, ["add 10.0.0.0/24"]);
});

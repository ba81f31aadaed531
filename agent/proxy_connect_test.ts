import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { proxyFor } from "./proxy_connect.ts";

Deno.test("proxyFor reads HTTPS_PROXY in both cases, the lower one first, and ALL_PROXY where that is missing", () => {
  const cases: [Record<string, string>, string | undefined][] = [
    [{}, undefined],
    [{ HTTPS_PROXY: "http://proxy:3128" }, "http://proxy:3128/"],
    [{ https_proxy: "http://lower:1", HTTPS_PROXY: "http://upper:1" }, "http://lower:1/"],
    [{ HTTPS_PROXY: "proxy:3128" }, "http://proxy:3128/"],
    [{ ALL_PROXY: "http://all:1" }, "http://all:1/"],
    [{ HTTPS_PROXY: "", ALL_PROXY: "" }, undefined],
    [{ HTTPS_PROXY: "socks5://proxy:1080" }, undefined],
    [{ HTTPS_PROXY: "http://" }, undefined],
    [{ HTTP_PROXY: "http://proxy:3128" }, undefined],
  ];
  for (const [environment, expected] of cases) {
    assertEquals(proxyFor("relay.example", (name) => environment[name])?.href, expected);
  }
});

Deno.test("proxyFor excepts what NO_PROXY names: a host, all under a domain, or everything", () => {
  const proxied = (hostname: string, NO_PROXY: string): boolean => {
    const environment: Record<string, string> = { HTTPS_PROXY: "http://proxy:1", NO_PROXY };
    return proxyFor(hostname, (name) => environment[name]) !== undefined;
  };
  assertEquals(proxied("relay.example", "other.example, relay.example"), false);
  assertEquals(proxied("a.relay.example", "relay.example"), false);
  assertEquals(proxied("a.relay.example", ".relay.example"), false);
  assertEquals(proxied("norelay.example", "relay.example"), true);
  assertEquals(proxied("198.51.100.1", "198.51.100.1"), false);
  assertEquals(proxied("relay.example", "*"), false);
  assertEquals(proxied("relay.example", ","), true);
});

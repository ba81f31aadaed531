import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { decodeLinkNotices, LinkJudge, type LinkNotice } from "./link_monitor.ts";

const hex = (text: string): Uint8Array =>
  Uint8Array.from(text.replaceAll(/\s/g, "").match(/../g) ?? [], (byte) => parseInt(byte, 16));

/** RTM_NEWLINK, index 7, UP | RUNNING | LOWER_UP, IFLA_IFNAME "eth0". */
const LINK = hex(`
  2c000000 1000 0000 00000000 00000000
  00 00 0100 07000000 41000100 00000000
  0900 0300 65746830 00 000000`);
/** RTM_NEWADDR, 192.0.2.9/24 at index 7. */
const ADDRESS = hex(`
  28000000 1400 0000 00000000 00000000
  02 18 80 00 07000000
  0800 0100 c0000209 0800 0200 c0000209`);
/** RTM_NEWADDR, fe80::1/64: of this link only. */
const LINK_LOCAL = hex(`
  2c000000 1400 0000 00000000 00000000
  0a 40 80 fd 07000000
  1400 0100 fe800000000000000000000000000001`);
/** RTM_NEWADDR, 2001:db8::9/64, IFA_FLAGS tentative. */
const TENTATIVE = hex(`
  34000000 1400 0000 00000000 00000000
  0a 40 c0 00 07000000
  1400 0100 20010db8000000000000000000000009
  0800 0800 c0000000`);
/** RTM_DELROUTE, default by 192.0.2.1 at index 7, main table. */
const ROUTE = hex(`
  2c000000 1900 0000 00000000 00000000
  02 00 00 00 fe 03 00 01 00000000
  0800 0500 c0000201 0800 0400 07000000`);
/** The same for 198.51.100.0/24. */
const NARROW_ROUTE = hex(`
  2c000000 1800 0000 00000000 00000000
  02 18 00 00 fe 03 00 01 00000000
  0800 0500 c0000201 0800 0400 07000000`);

Deno.test("decodeLinkNotices reads links, addresses and default routes, several in one piece", () => {
  const bytes = Uint8Array.from(
    [LINK, ADDRESS, LINK_LOCAL, TENTATIVE, ROUTE, NARROW_ROUTE].flatMap((part) => [...part]),
  );
  assertEquals(decodeLinkNotices(bytes), {
    notices: [
      { kind: "link", index: 7, name: "eth0", running: true, removed: false },
      { kind: "address", index: 7, address: "192.0.2.9", removed: false, tentative: false },
      { kind: "address", index: 7, address: "2001:db8::9", removed: false, tentative: true },
      { kind: "defaultRoute", index: 7, route: "2 7 192.0.2.1 0", removed: true },
    ],
    done: false,
  });
});

Deno.test("decodeLinkNotices throws on no bytes at all", () => {
  let state = 1;
  const random = (): number => (state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0) >>> 24;
  for (const whole of [LINK, ADDRESS, LINK_LOCAL, TENTATIVE, ROUTE]) {
    for (let end = 0; end <= whole.length; end++) decodeLinkNotices(whole.subarray(0, end));
    for (let i = 0; i < 2000; i++) {
      const bytes = whole.slice();
      for (let n = 0; n < 3; n++) bytes[random() % bytes.length] = random();
      decodeLinkNotices(bytes);
    }
  }
});

const link = (running: boolean, name = "eth0", index = 7): LinkNotice => (
  { kind: "link", index, name, running, removed: false }
);
const address = (text: string, tentative = false, index = 7): LinkNotice => (
  { kind: "address", index, address: text, removed: false, tentative }
);
const route = (removed = false): LinkNotice => (
  { kind: "defaultRoute", index: 7, route: "2 7 192.0.2.1 0", removed }
);

Deno.test("LinkJudge cares for a carrier that returns, not for one that goes or stays", () => {
  const judge = new LinkJudge((name) => name.startsWith("veth"));
  for (const index of [7, 8]) judge.matters(address("192.0.2.9", false, index));
  const states = [true, true, false, false, true].map((running) => judge.matters(link(running)));
  assertEquals(states, [false, false, false, false, true]);
  assert(!judge.matters(link(false, "veth1", 8)) && !judge.matters(link(true, "veth1", 8)));
  assert(!judge.matters(link(false, "lxc9", 9)) && !judge.matters(link(true, "lxc9", 9)));
});

Deno.test("LinkJudge cares for an address once: when it can be used, and when it goes", () => {
  const judge = new LinkJudge((name) => name === "docker0");
  judge.matters(link(true));
  judge.matters(link(true, "docker0", 9));
  const steps: (readonly [LinkNotice, boolean])[] = [
    [address("192.0.2.9"), true],
    // A renewed lease.
    [address("192.0.2.9"), false],
    [address("2001:db8::9", true), false],
    [address("2001:db8::9"), true],
    [address("2001:db8::9"), false],
    [{ ...address("192.0.2.9"), removed: true } as LinkNotice, true],
    [{ ...address("192.0.2.9"), removed: true } as LinkNotice, false],
    [address("172.17.0.1", false, 9), false],
  ];
  for (const [notice, expected] of steps) assertEquals(judge.matters(notice), expected);
});

Deno.test("LinkJudge cares for a default route that is new or gone, not for one that is refreshed", () => {
  const judge = new LinkJudge(() => false);
  assertEquals([route(), route(), route(true), route()].map((notice) => judge.matters(notice)), [
    true,
    false,
    true,
    true,
  ]);
});

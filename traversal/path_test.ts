import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { formatPath, ownPath, samePath } from "./path.ts";

const REMOTE = { hostname: "2001:db8::1", port: 51820 };

Deno.test("paths are the same when the local end, the address and the port are", () => {
  assert(samePath(ownPath(REMOTE), { local: 0, remote: { ...REMOTE } }));
  assert(!samePath(ownPath(REMOTE), { local: 1, remote: REMOTE }));
  assert(!samePath(ownPath(REMOTE), ownPath({ ...REMOTE, port: 1 })));
  assert(!samePath(ownPath(REMOTE), ownPath({ ...REMOTE, hostname: "2001:db8::2" })));
});

Deno.test("a path is written as its address, and with its local end where that is an extra one", () => {
  assertEquals(formatPath(ownPath(REMOTE)), "[2001:db8::1]:51820");
  assertEquals(
    formatPath({ local: 7, remote: REMOTE }),
    "[2001:db8::1]:51820 from local end 7",
  );
});

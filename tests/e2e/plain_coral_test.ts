/** Nodes as processes on a plain Coral Discovery: no punch, no Watch, no STUN, no proofs, JSON only. */
import {
  deepStrictEqual as assertEquals,
  doesNotMatch as assertNoMatch,
  ok as assert,
} from "node:assert/strict";
import type { NodeStatus } from "../../agent/status.ts";
import { MIB } from "../support/bytes.ts";
import { startWebServer } from "../support/http.ts";
import { aloneBinary, Moray, moray, type Program, SOURCE } from "../support/moray.ts";
import type { Need } from "../support/needs.ts";
import { PlainCoral } from "../support/plain_coral.ts";
import { e2e, type Scope } from "../support/scope.ts";

/** What Coral's service has: nothing else may be needed. */
const METHODS = ["RegisterColony", "RegisterAgent", "LookupColony", "LookupAgent", "Health"];

function plainCoralTests(
  makeProgram: (scope: Scope) => Program,
  { title, needs }: { readonly title: string; readonly needs: readonly Need[] },
): void {
  e2e(`${title}: a mesh on a plain Coral Discovery carries bytes directly`, {
    needs,
    timeoutMs: 90_000,
  }, async (scope) => {
    const program = makeProgram(scope);
    const coral = scope.use(await PlainCoral.start());
    const web = await startWebServer(scope);
    const state = { colony: scope.directory(), agent: scope.directory() };
    const joining = ["--mesh", "reef", "--discovery", coral.url, "--no-port-mapping"];
    const colony = scope.use(
      await Moray.start(
        ["colony", "--open", ...joining, "--state", state.colony, "--expose", `8080:${web}`],
        { program },
      ),
    );
    const forward = ["--forward", "127.0.0.1:0:colony:8080"];
    const agent = scope.use(
      await Moray.start(["agent", ...joining, ...forward, "--state", state.agent], { program }),
    );
    scope.explain(() =>
      Promise.resolve(`${agent.child.log}\n${colony.child.log}\n${JSON.stringify(coral.counts())}`)
    );
    const response = await fetch(`http://${agent.address("forward")}/bytes?mib=1`, {
      signal: scope.signal,
    });
    const { length } = await response.bytes();
    assertEquals([response.status, length], [200, MIB]);

    for (const node of ["agent", "colony"] as const) {
      const { stdout, code, stderr } = await moray(["status", "--json", "--state", state[node]], {
        program,
      });
      assertEquals(code, 0, stderr);
      const status = JSON.parse(stdout) as NodeStatus;
      assertEquals(status.discovery?.connected, true, stdout);
      assertEquals(status.peers.map(({ path }) => path.kind), ["direct"], stdout);
    }
    // JSON only, and nothing that this Discovery would have to know to be of use. No proof: it has said no key for one.
    const used = coral.calls.filter(({ status }) => status === 200);
    assertEquals(used.filter(({ method }) => !METHODS.includes(method)), []);
    for (const { contentType, headers } of used) {
      assertEquals([contentType, headers.includes("moray-proof")], ["application/json", false]);
    }
    const { Watch = 0, GetServerInfo = 0, ...counts } = coral.counts();
    for (const method of METHODS.slice(0, 3)) assert((counts[method] ?? 0) >= 1, method);
    // What it does not have is asked for once at the start of each node, and not with every call.
    assert(Watch <= 2 && GetServerInfo <= 6, JSON.stringify(coral.counts()));
    for (const part of [agent, colony]) {
      assertEquals(await part.stop(2_000), 0, part.child.log);
      assertNoMatch(part.child.log, /\berror\b|is taken/i);
    }
  });
}

plainCoralTests(() => SOURCE, { title: "source", needs: [] });
plainCoralTests(aloneBinary, { title: "binary", needs: ["binary"] });

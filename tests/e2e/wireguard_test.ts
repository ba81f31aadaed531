/** `moray wireguard` against wireguard-go on a TUN device: roles, a preshared key, bulk both ways, rekeys. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { block } from "../support/bytes.ts";
import { Capture, type CapturedDatagram, payloadKind } from "../support/capture.ts";
import { curlDownload, curlUpload } from "../support/http.ts";
import { SOURCE } from "../support/moray.ts";
import { run } from "../support/child.ts";
import { ROOT } from "../support/needs.ts";
import { say } from "../support/say.ts";
import { e2e, type Scope } from "../support/scope.ts";
import { startPair, type WireGuardPair } from "../support/wireguard_pair.ts";

const BODY_MIB = 64;

for (const initiator of ["moray", "wireguard-go"] as const) {
  e2e(
    `wireguard-go as ${
      initiator === "moray" ? "responder" : "initiator"
    } with a preshared key: 64 MiB both ways`,
    { needs: ["full", "wireguard-go", "curl", "tcpdump"], timeoutMs: 360_000 },
    async (scope) => {
      const pair = await startPair(scope, { program: SOURCE, initiator });
      const { link } = pair;
      const capture = scope.use(
        await Capture.start({ namespace: link.a.namespace, device: link.a.device }),
      );
      const initiations = (end: { ip: string }) => (datagram: CapturedDatagram): boolean =>
        payloadKind(datagram.payload) === "initiation" && datagram.sourceIp === end.ip;
      await (initiator === "moray" ? fromUs(scope, pair) : fromPeer(scope, pair));
      const first = initiator === "moray" ? link.a : link.b;
      assert((await capture.until(1, initiations(first))).length > 0);
      await (initiator === "moray" ? fromPeer(scope, pair) : fromUs(scope, pair));
      const other = initiator === "moray" ? link.b : link.a;
      const seen = await capture.stop();
      const order = seen.findIndex(initiations(other));
      assert(
        order < 0 || seen.findIndex(initiations(first)) < order,
        `${initiator} did not speak first`,
      );
      const { rxBytes, txBytes } = await pair.peer.peer();
      const total = 2 * BODY_MIB * (1 << 20);
      assert(rxBytes > total && txBytes > total, `wg shows ${rxBytes} received, ${txBytes} sent`);
      assertEquals(await pair.moray.stop(2_000), 0, pair.moray.child.log);
    },
  );
}

e2e(
  "wireguard-go: SOCKS5 reaches the peer by its address",
  { needs: ["full", "wireguard-go", "curl"], timeoutMs: 300_000 },
  async (scope) => {
    const { link, socks5, peerWeb } = await startPair(scope, {
      program: SOURCE,
      initiator: "moray",
    });
    await curlDownload(`http://${peerWeb}`, { namespace: link.a.namespace, socks5, mib: 4 });
  },
);

/** WireGuard makes a new session every 120 s: 310 s hold at least two rekeys. */
const REKEY_SECONDS = 310;
const STALL_SECONDS_MAX = 15;

e2e(
  "wireguard-go: five minutes of verified traffic across two rekeys, without a stall of 15 s",
  {
    needs: ["full", "long", "wireguard-go", "curl", "tcpdump"],
    timeoutMs: (REKEY_SECONDS + 240) * 1000,
  },
  async (scope) => {
    const { link, forward } = await startPair(scope, { program: SOURCE, initiator: "moray" });
    const capture = scope.use(
      await Capture.start({ namespace: link.a.namespace, device: link.a.device, bytes: 64 }),
    );
    const streamed = run(
      [
        Deno.execPath(),
        "run",
        "-A",
        `${ROOT}tests/support/long_stream.ts`,
        `http://${forward}/stream?seconds=${REKEY_SECONDS}`,
      ],
      { namespace: link.a.namespace, cwd: ROOT, timeoutMs: (REKEY_SECONDS + 60) * 1000 },
    );
    const { code, stdout, stderr } = await streamed;
    assertEquals(code, 0, stderr);
    const result = JSON.parse(stdout) as { blocks: number; seconds: number; longestGap: number };
    say(`rekey: ${JSON.stringify(result)}`);
    assert(result.seconds >= REKEY_SECONDS - 1, `it lasted ${result.seconds} s`);
    assert(result.blocks * block(0).length > 100 << 20, `only ${result.blocks} blocks`);
    assert(result.longestGap <= STALL_SECONDS_MAX, `a stall of ${result.longestGap} s`);
    const responses = (await capture.stop()).filter(({ payload }) =>
      payloadKind(payload) === "response"
    );
    assert(responses.length >= 3, `${responses.length} handshakes: the first and two rekeys`);
  },
);

async function fromUs(
  scope: Scope,
  { link, forward }: WireGuardPair,
): Promise<void> {
  const from = { namespace: link.a.namespace, mib: BODY_MIB };
  const down = await curlDownload(`http://${forward}`, from);
  const up = await curlUpload(scope, `http://${forward}`, from);
  say(`wireguard-go, by --forward: down ${rate(down)}, up ${rate(up)}`);
}

async function fromPeer(
  scope: Scope,
  { link, ourWeb }: WireGuardPair,
): Promise<void> {
  const from = { namespace: link.b.namespace, mib: BODY_MIB };
  const down = await curlDownload(`http://${ourWeb}`, from);
  const up = await curlUpload(scope, `http://${ourWeb}`, from);
  say(`wireguard-go, to --expose: down ${rate(down)}, up ${rate(up)}`);
}

function rate(seconds: number): string {
  return `${Math.round(BODY_MIB * 8.389 / seconds)} Mbit/s`;
}

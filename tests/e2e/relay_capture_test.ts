/** What a relay's host gets to see of those whom it connects. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { block } from "../support/bytes.ts";
import { Capture, parsePcap, type PayloadKind, payloadKind } from "../support/capture.ts";
import { run } from "../support/child.ts";
import { curl, curlDownload } from "../support/http.ts";
import { Lab } from "../support/natlab.ts";
import {
  DELAY,
  RELAY_PORT as PORT,
  startRelayWorld,
  startWalker,
  startWebColony,
} from "../support/relayed_pair.ts";
import { e2e } from "../support/scope.ts";

/** Whole packets, also the long ones that offloading makes. */
const WHOLE = { bytes: 66_000, filter: "" };
/** In the request's path, in the page, and at the beginning of a longer one. */
const REQUEST_MARK = "what-was-asked-for-4711";
const PAGE_MARK = "hello from behind the colony";
const BYTES_MARK = block(0).subarray(0, 32);
const BODY_MIB = 1;

e2e("a capture at the relay holds TURN and STUN at its port, and no plaintext anywhere", {
  needs: ["full", "natlab", "curl", "tcpdump"],
  timeoutMs: 120_000,
}, async (scope) => {
  const lab = scope.use(
    await Lab.up("relaycap", {
      servers: ["disco:2"],
      sites: [`c=symmetric,${DELAY}`, `a=symmetric,${DELAY}`],
    }),
  );
  const address = lab.address("disco", 4);
  // What goes from one allocation to another never leaves the host. The agent's side shows what plaintext looks like.
  const [card, loop, reader] = [
    { namespace: lab.namespace("disco"), device: "eth0" },
    { namespace: lab.namespace("disco"), device: "lo" },
    { namespace: lab.namespace("a1"), device: "lo" },
  ];
  const captures: Capture[] = [];
  for (const place of [card, loop, reader]) {
    captures.push(scope.use(await Capture.start({ ...place, ...WHOLE })));
  }
  const world = await startRelayWorld(scope, lab);
  await startWebColony(scope, { lab, world });
  const walker = await startWalker({ world });
  const proxy = { namespace: lab.namespace("a1"), socks5: walker.process.address("socks5") };
  const page = await run([
    ...curl({ ...proxy, timeoutMs: 20_000 }),
    `http://colony:8080/hello?note=${REQUEST_MARK}`,
  ], { namespace: proxy.namespace });
  assertEquals(page.stdout, `${PAGE_MARK}\n`);
  await curlDownload("http://colony:8080", { ...proxy, mib: BODY_MIB });
  assertEquals((await walker.path("colony"))?.kind, "relayed");

  const files = await Promise.all(captures.map((capture) => capture.stopRaw()));
  const marks = [REQUEST_MARK, PAGE_MARK, BYTES_MARK].map((mark) => Buffer.from(mark));
  assertEquals(
    files.map((file) => marks.map((mark) => Buffer.from(file).includes(mark))),
    [[false, false, false], [false, false, false], [true, true, true]],
  );
  const atPort = new Map<PayloadKind, number>();
  const elsewhere = new Set<PayloadKind>();
  for (const file of files.slice(0, 2)) {
    for (const { sourceIp, sourcePort, targetIp, targetPort, payload } of parsePcap(file)) {
      const isTurn = (sourceIp === address && sourcePort === PORT) ||
        (targetIp === address && targetPort === PORT);
      // STUN at Discovery's port, and at allocations what a peer sends there by itself.
      if (!isTurn) elsewhere.add(payloadKind(payload));
      for (const message of isTurn ? messagesOf(payload) : []) {
        const kind = payloadKind(message.data);
        atPort.set(kind, (atPort.get(kind) ?? 0) + message.data.length);
      }
    }
  }
  assertEquals([atPort.has("other"), elsewhere.has("other")], [false, false]);
  assert((atPort.get("stun") ?? 0) > 0);
  const carried = atPort.get("data") ?? 0;
  assert(carried > BODY_MIB << 20, `${carried} bytes of WireGuard data by way of the relay`);
});

interface Message {
  readonly kind: "stun" | "channel";
  /** What a channel carries; a STUN message whole. */
  readonly data: Uint8Array;
}

/** Splits what a datagram, or a train of them that is not cut yet, holds. Throws at anything but STUN and ChannelData. */
function messagesOf(payload: Uint8Array): readonly Message[] {
  const messages: Message[] = [];
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  for (let at = 0; at < payload.length;) {
    const rest = payload.subarray(at);
    const kind = payloadKind(rest) === "stun" ? "stun" : "channel";
    assert(rest.length >= 4, `${rest.length} bytes that are neither STUN nor ChannelData`);
    assert(kind === "stun" || (rest[0] ?? 0) >> 4 === 4, `begins with ${rest.subarray(0, 4)}`);
    const header = kind === "stun" ? 20 : 4;
    const end = header + view.getUint16(at + 2);
    assert(end <= rest.length, `${end} bytes are announced, ${rest.length} are there`);
    messages.push({ kind, data: rest.subarray(kind === "stun" ? 0 : header, end) });
    at += end;
  }
  return messages;
}

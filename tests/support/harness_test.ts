/** The harness against real tools, without the program: what fails here is the harness, not moray. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { MIB, sha256Of, testSha256, testStream } from "./bytes.ts";
import { Capture, payloadKind } from "./capture.ts";
import { Child, run } from "./child.ts";
import { curlDownload, curlUpload, startWebServer } from "./http.ts";
import { keyPair, presharedKey, secretForms } from "./keys.ts";
import { Link } from "./link.ts";
import { Lab } from "./natlab.ts";
import { e2e } from "./scope.ts";
import { WireGuardGo } from "./wireguard_go.ts";

Deno.test("testSha256 is the digest of what testStream yields, at any length", async () => {
  for (const bytes of [1, 65_536, 65_537, 3 * MIB + 5]) {
    assertEquals(await sha256Of(testStream(bytes)), { sha256: testSha256(bytes), bytes });
  }
  assert(testSha256(MIB) !== testSha256(MIB - 1));
});

Deno.test("Child reports a process that ends before it printed what was waited for", async () => {
  await using child = new Child([Deno.execPath(), "eval", "console.error('before the end')"]);
  await assertRejects(child.line(/never printed/), /ended before it printed[^]*before the end/);
});

Deno.test("Child kills a process that ignores SIGTERM, and says so", async () => {
  const script = "Deno.addSignalListener('SIGTERM', () => {}); console.log('deaf');" +
    "setInterval(() => {}, 1e6)";
  await using child = new Child([Deno.execPath(), "eval", script]);
  await child.line(/deaf/);
  await assertRejects(child.stop(200), /to end on SIGTERM/);
  assert(child.ended);
});

Deno.test("secretForms finds a key as base64, base64url, hexadecimal and byte list", async () => {
  const { privateKey } = await keyPair();
  const bytes = Uint8Array.from(atob(privateKey), (c) => c.charCodeAt(0));
  const texts = [privateKey, bytes.toHex(), bytes.toHex().toUpperCase(), bytes.join(",")];
  texts.push(bytes.toBase64({ alphabet: "base64url", omitPadding: true }));
  for (const text of texts) {
    assert(secretForms(privateKey).some((form) => `log: ${text}.`.includes(form)), text);
  }
});

e2e("keyPair agrees with wg pubkey", { needs: ["wireguard-go"] }, async (scope) => {
  const { privateKey, publicKey } = await keyPair();
  const file = `${scope.directory()}/key`;
  await Deno.writeTextFile(file, privateKey, { mode: 0o600 });
  const { stdout } = await run(["sh", "-c", `wg pubkey < ${file}`]);
  assertEquals(stdout.trim(), publicKey);
});

e2e(
  "a lab carries downloads and uploads through a NAT, and a capture sees the datagrams",
  { needs: ["full", "natlab", "curl", "tcpdump"], timeoutMs: 240_000 },
  async (scope) => {
    const lab = scope.use(
      await Lab.up("harness", { sites: ["a=portrestricted,delay=2ms,v6=on", "b=v6"] }),
    );
    const disco = lab.namespace("disco");
    const web = await startWebServer(scope, {
      listen: `${lab.address("disco")}:8080`,
      namespace: disco,
    });
    const from = { namespace: lab.namespace("a1"), mib: 4 };
    await curlDownload(`http://${web}`, from);
    await curlUpload(scope, `http://${web}`, from);
    await assertRejects(curlDownload(`http://${lab.address("disco")}:9`, from), /code/);

    const device = "eth0";
    const capture = scope.use(await Capture.start({ namespace: from.namespace, device }));
    const v6 = lab.address("disco", 6);
    // A STUN header, a WireGuard initiation header, and neither.
    const send = `const s = Deno.listenDatagram({transport:"udp",hostname:"::",port:40000});
      const to = {transport:"udp",hostname:"${v6}",port:3478};
      await s.send(new Uint8Array([0,1,0,0,0x21,0x12,0xa4,0x42,...Array(12).fill(7)]),to);
      await s.send(new Uint8Array(148).fill(1,0,1),to); await s.send(new Uint8Array(9),to);`;
    const node = await lab.exec("a1", [Deno.execPath(), "eval", "--unstable-net", send]);
    assertEquals(node, { code: 0, stdout: "", stderr: "" });
    const datagrams = await capture.until(3, ({ targetPort }) => targetPort === 3478);
    assertEquals(
      datagrams.map(({ sourceIp, sourcePort, targetIp, payload }) => [
        sourceIp,
        sourcePort,
        targetIp,
        payloadKind(payload),
        payload.length,
      ]),
      [["stun", 20], ["initiation", 148], ["other", 9]].map((row) => [
        lab.address("a1", 6),
        40000,
        v6,
        ...row,
      ]),
    );
    await lab.ctl("a", "set down=1");
    await assertRejects(
      curlDownload(`http://${web}`, { ...from, timeoutMs: 1_000 }),
      /code|within/,
    );
    assertMatch(await lab.ctl("a", "stats"), /"drop_down": [1-9]/);
  },
);

e2e(
  "wireguard-go talks to itself across a link, with a preshared key",
  { needs: ["full", "wireguard-go", "curl"], timeoutMs: 300_000 },
  async (scope) => {
    const link = scope.use(await Link.up());
    const [a, b] = [await keyPair(), await keyPair()];
    const psk = presharedKey();
    const shared = { presharedKey: psk, listenPort: 51820 };
    scope.use(
      await WireGuardGo.start({
        ...shared,
        namespace: link.a.namespace,
        privateKey: a.privateKey,
        address: "10.9.0.1/24",
        peerPublicKey: b.publicKey,
        allowedIps: "10.9.0.2/32",
      }),
    );
    const there = scope.use(
      await WireGuardGo.start({
        ...shared,
        namespace: link.b.namespace,
        privateKey: b.privateKey,
        address: "10.9.0.2/24",
        peerPublicKey: a.publicKey,
        allowedIps: "10.9.0.1/32",
        endpoint: `${link.a.ip}:51820`,
      }),
    );
    const web = await startWebServer(scope, {
      listen: "10.9.0.1:8080",
      namespace: link.a.namespace,
    });
    await curlDownload(`http://${web}`, { namespace: link.b.namespace, mib: 16 });
    const { rxBytes, lastHandshake } = await there.peer();
    assert(rxBytes > 16 * MIB && lastHandshake > 0);
  },
);

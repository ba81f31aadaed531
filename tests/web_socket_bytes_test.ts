/** Byte streams by WebSocket, against servers in this process: how attempts fail and connections end. */
import { deepStrictEqual as assertEquals, rejects } from "node:assert/strict";
import { WebSocketBytes } from "../agent/web_socket_bytes.ts";
import { e2e } from "./support/scope.ts";

const HOST = { hostname: "127.0.0.1", port: 0 };

e2e("an attempt that was refused stands its signal's abort afterwards", {}, async () => {
  const listener = Deno.listen(HOST);
  const { port } = listener.addr;
  listener.close();
  const controller = new AbortController();
  const { signal } = controller;
  await rejects(WebSocketBytes.open(`ws://127.0.0.1:${port}/`, { protocol: "turn", signal }));
  controller.abort();
});

e2e("an attempt that is not answered ends when it is aborted", {}, async (scope) => {
  const listener = Deno.listen(HOST);
  scope.defer(() => listener.close());
  const controller = new AbortController();
  const { signal } = controller;
  const attempt = WebSocketBytes.open(`ws://127.0.0.1:${listener.addr.port}/`, {
    protocol: "turn",
    signal,
  });
  const conn = await listener.accept();
  controller.abort(new Error("enough"));
  await rejects(attempt, /enough/);
  conn.close();
  await rejects(WebSocketBytes.open("ws://127.0.0.1:9/", { protocol: "turn", signal }), /enough/);
});

e2e("what is written comes back in pieces of any size, and its end is seen", {}, async (scope) => {
  const server = Deno.serve({ ...HOST, onListen: () => {} }, (request) => {
    const known = request.headers.get("sec-websocket-protocol") === "turn";
    const { response, socket } = Deno.upgradeWebSocket(request, known ? { protocol: "turn" } : {});
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => socket.send(data);
    return response;
  });
  scope.defer(() => server.shutdown());
  const url = `ws://127.0.0.1:${server.addr.port}/`;
  const bytes = await WebSocketBytes.open(url, { protocol: "turn" });
  await bytes.write(new Uint8Array([1, 2, 3, 4, 5]));
  const target = new Uint8Array(2);
  const seen: number[] = [];
  while (seen.length < 5) seen.push(...target.subarray(0, (await bytes.read(target)) ?? 0));
  assertEquals(seen, [1, 2, 3, 4, 5]);
  const end = bytes.read(target);
  bytes.close();
  bytes.close();
  await bytes.gone();
  assertEquals(await end, null);
  await rejects(WebSocketBytes.open(url, { protocol: "other" }), /does not speak other/);
});

/**
 * The fast driver alone as a server of small datagrams, without Discovery around it.
 *
 *     stun_server.ts PORT stun|echo     answers STUN Binding requests, or sends everything back; prints `ready port=PORT`
 *
 * @module
 */
import { FastDriver } from "../agent/datapath/fast_driver.ts";
import type { SocketAddress } from "../core/mod.ts";
import { EventFd } from "../io/mod.ts";
import { BindingAnswers } from "../traversal/mod.ts";

/** How long one sleep may take. */
const SLEEP_MS = 60_000;

const [port = "", kind = ""] = Deno.args;
if (kind !== "stun" && kind !== "echo") throw new Error("usage: stun_server.ts PORT stun|echo");
const bell = new EventFd();
const answers = new BindingAnswers();
const onDatagrams = kind === "stun" ? answerEach : echoAll;
const driver = FastDriver.open({ port: Number(port), eventFd: bell.fd, onDatagrams });
Deno.stdout.writeSync(new TextEncoder().encode(`ready port=${driver.port}\n`));
for (;;) {
  driver.wait(SLEEP_MS);
  while (driver.receive());
}

function answerEach(source: SocketAddress, bytes: Uint8Array, segment: number): void {
  for (let at = 0; at < bytes.length; at += segment) {
    const answer = answers.answer(source, bytes.subarray(at, at + segment));
    if (answer !== undefined) driver.send(answer, answer.length, source);
  }
}

function echoAll(source: SocketAddress, bytes: Uint8Array, segment: number): void {
  driver.send(bytes, segment, source);
}

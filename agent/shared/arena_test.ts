import { deepStrictEqual as assertEquals, ok, throws } from "node:assert/strict";
import { SharedArena, STREAM_SLOTS_MAX } from "./arena.ts";
import {
  ABORT,
  EOF,
  ESTABLISHED,
  FAILED,
  failureOf,
  FIN,
  LARGE_SLOTS,
  RELEASED,
  ringBytes,
  STREAM_FAILURES,
  type StreamFailure,
} from "./stream_slot.ts";
import { ALLOWED_IPS_MAX } from "./protocol.ts";
import { interruptEverywhere } from "./testing/preemption.ts";

/** The two threads' views of one arena. */
function arenaPair(): [main: SharedArena, worker: SharedArena] {
  const main = SharedArena.create();
  return [main, SharedArena.attach(main.buffer)];
}

function takenBy(take: (look: (slot: { index: number }) => void) => void): number[] {
  const indices: number[] = [];
  take((slot) => indices.push(slot.index));
  return indices.sort((a, b) => a - b);
}

Deno.test("SharedArena's parts do not overlap", () => {
  const [main, worker] = arenaPair();
  const everything = new Uint8Array(main.buffer);
  const full = (index: number, fill: number): Uint8Array =>
    new Uint8Array(ringBytes(index)).fill(fill);
  const indices = [0, 1, LARGE_SLOTS - 1, LARGE_SLOTS, 511, STREAM_SLOTS_MAX - 1];
  while (main.commands.push(new Uint8Array(1000).fill(0xcc)));
  while (worker.events.push(new Uint8Array(1000).fill(0xee)));
  for (const index of indices) {
    assertEquals(main.slot(index).toNet.write(full(index, index + 1)), ringBytes(index));
    assertEquals(worker.slot(index).toApp.write(full(index, index + 2)), ringBytes(index));
    main.slot(index).setMainFlags(FIN);
    worker.slot(index).setWorkerFlags(ESTABLISHED);
  }
  main.markForWorker(main.slot(STREAM_SLOTS_MAX - 1));
  worker.markForMain(worker.slot(0));
  for (const index of indices) {
    assertEquals(worker.slot(index).toNet.peek()[0], full(index, index + 1));
    assertEquals(main.slot(index).toApp.peek()[0], full(index, index + 2));
    assertEquals([worker.slot(index).mainFlags, main.slot(index).workerFlags], [FIN, ESTABLISHED]);
  }
  for (let frame; (frame = worker.commands.pop()) !== undefined;) {
    assertEquals(frame, new Uint8Array(1000).fill(0xcc));
  }
  for (let frame; (frame = main.events.pop()) !== undefined;) {
    assertEquals(frame, new Uint8Array(1000).fill(0xee));
  }
  assertEquals(takenBy((look) => worker.takeDirtyForWorker(look)), [STREAM_SLOTS_MAX - 1]);
  assertEquals(takenBy((look) => main.takeDirtyForMain(look)), [0]);
  assertEquals([main.ringWorker(), worker.ringMain()], [true, true]);
  assertEquals(everything.length, main.buffer.byteLength);
  throws(() => main.slot(STREAM_SLOTS_MAX), /no stream slot 1024/);
  throws(() => main.slot(-1), /no stream slot/);
});

Deno.test("dirty slots are taken once each, whichever they are", () => {
  const [main, worker] = arenaPair();
  const marked = [0, 1, 31, 32, 63, 500, 1022, 1023];
  for (const index of marked) {
    main.markForWorker(main.slot(index));
    main.markForWorker(main.slot(index));
  }
  assertEquals(takenBy((look) => worker.takeDirtyForWorker(look)), marked);
  assertEquals(takenBy((look) => worker.takeDirtyForWorker(look)), []);
  assertEquals(takenBy((look) => main.takeDirtyForMain(look)), []);
});

Deno.test("a bell wakes once until it is answered", () => {
  const [main, worker] = arenaPair();
  assertEquals([main.ringWorker(), main.ringWorker()], [true, false]);
  worker.waitForBell(60_000);
  worker.answerWorkerBell();
  assertEquals(main.ringWorker(), true);
  assertEquals([worker.ringMain(), worker.ringMain()], [true, false]);
  main.answerMainBell();
  assertEquals(worker.ringMain(), true);
});

Deno.test("what is marked and rung for is drained or wakes again, wherever one side interrupts the other", async () => {
  for (const mainIsInterrupted of [true, false]) {
    const points = await interruptEverywhere(() => {
      const [main, worker] = arenaPair();
      // A wake-up is under way for another slot already.
      worker.markForMain(worker.slot(3));
      worker.ringMain();
      let drained = false;
      let woken = false;
      const listen = (): void => {
        main.answerMainBell();
        main.takeDirtyForMain((slot) => drained ||= slot.index === 7);
      };
      const tell = (): void => {
        worker.markForMain(worker.slot(7));
        woken = worker.ringMain();
      };
      return {
        victim: mainIsInterrupted ? listen : tell,
        intruder: mainIsInterrupted ? tell : listen,
        check: (at): void => ok(drained || woken, `lost at operation ${at}`),
      };
    });
    ok(points > 2);
  }
});

Deno.test("a main thread that waits for its bell drains what is rung for or is woken, wherever it is interrupted", async () => {
  for (const mainIsInterrupted of [true, false]) {
    const points = await interruptEverywhere(() => {
      const [main, worker] = arenaPair();
      // The last wake-up has not been answered yet.
      worker.ringMain();
      let drained = false;
      let rung: Promise<unknown> | undefined;
      const listen = (): void => {
        const drain = (): void => main.takeDirtyForMain((slot) => drained ||= slot.index === 7);
        main.answerMainBell();
        drain();
        rung = main.waitForMainBell();
        if (rung !== undefined) return;
        rung = main.answerAndWait();
        drain();
      };
      const tell = (): void => {
        worker.markForMain(worker.slot(7));
        if (worker.ringMain()) worker.notifyMain();
      };
      return {
        victim: mainIsInterrupted ? listen : tell,
        intruder: mainIsInterrupted ? tell : listen,
        check: async (at): Promise<void> => {
          // Memory that is freed with somebody waiting on it may be given out again, and then V8 finds nobody to wake.
          if (drained) return main.notifyMain();
          // Who waits for a bell alone does not keep the program running.
          const { promise: late, resolve } = Promise.withResolvers<string>();
          const timer = setTimeout(() => resolve(`asleep after operation ${at}`), 10_000);
          assertEquals(await Promise.race([rung, late]), "ok");
          clearTimeout(timer);
        },
      };
    });
    ok(points > 2);
  }
});

Deno.test("a sleeper that arms, then looks, is never left asleep", async () => {
  for (const sleeperIsInterrupted of [true, false]) {
    await interruptEverywhere(() => {
      const [main, worker] = arenaPair();
      const ours = worker.slot(5);
      const theirs = main.slot(5);
      ours.toApp.write(new Uint8Array(ringBytes(5)));
      let sleeps = false;
      const sleep = (): void => {
        ours.windowWait.arm(1000);
        sleeps = ours.toApp.room < 1000;
      };
      const move = (): void => {
        theirs.toApp.consume(2000);
        main.tookFromToApp(theirs);
      };
      return {
        victim: sleeperIsInterrupted ? sleep : move,
        intruder: sleeperIsInterrupted ? move : sleep,
        check: (at): void => {
          const marked = takenBy((look) => worker.takeDirtyForWorker(look)).includes(5);
          ok(!sleeps || marked, `lost at operation ${at}`);
        },
      };
    });
  }
});

Deno.test("a sleeper is woken once, and only when its wish is met", () => {
  const [main, worker] = arenaPair();
  const slot = worker.slot(2);
  main.slot(2).toNet.write(new Uint8Array(ringBytes(2)));
  main.slot(2).roomWait.arm(100);
  slot.toNet.consume(99);
  assertEquals(worker.tookFromToNet(slot), false);
  slot.toNet.consume(1);
  assertEquals([worker.tookFromToNet(slot), worker.tookFromToNet(slot)], [true, false]);
  slot.toApp.write(Uint8Array.of(1));
  assertEquals(worker.wroteToApp(slot), false);
  main.slot(2).dataWait.arm(1);
  assertEquals([worker.wroteToApp(slot), worker.wroteToApp(slot)], [true, false]);
  main.slot(2).dataWait.arm(1);
  main.slot(2).dataWait.disarm();
  assertEquals(worker.wroteToApp(slot), false);
  assertEquals(takenBy((look) => main.takeDirtyForMain(look)), [2]);
});

Deno.test("a slot's flags stand for themselves until it is reset", () => {
  const [main, worker] = arenaPair();
  for (const failure of Object.keys(STREAM_FAILURES) as StreamFailure[]) {
    worker.resetSlot(9);
    const slot = worker.slot(9);
    assertEquals([main.slot(9).workerFlags, slot.mainFlags], [0, 0]);
    assertEquals(failureOf(main.slot(9).workerFlags), undefined);
    slot.setWorkerFlags(ESTABLISHED);
    slot.setWorkerFlags(EOF);
    slot.setFailed(failure);
    slot.setFailed("closed");
    assertEquals(failureOf(main.slot(9).workerFlags), failure);
    assertEquals(main.slot(9).workerFlags & 0xff, ESTABLISHED | EOF | FAILED);
    main.slot(9).setMainFlags(FIN);
    main.slot(9).setMainFlags(ABORT | RELEASED);
    assertEquals(slot.mainFlags, FIN | ABORT | RELEASED);
    main.slot(9).toNet.write(Uint8Array.of(1));
    slot.toApp.write(Uint8Array.of(1));
    main.slot(9).dataWait.arm(7);
  }
  worker.resetSlot(9);
  assertEquals([worker.slot(9).toApp.length, worker.slot(9).toNet.length], [0, 0]);
  worker.slot(9).toApp.write(new Uint8Array(10));
  assertEquals(worker.wroteToApp(worker.slot(9)), false);
});

Deno.test("a peer with as many blocks as a configuration may give it fits in one command", () => {
  const allowedIps = new Array(ALLOWED_IPS_MAX).fill(`fd00${":ffff".repeat(7)}/128`);
  const publicKey = "A".repeat(44);
  const command = { kind: "addPeer", id: 2 ** 32, publicKey, presharedKey: publicKey, allowedIps };
  ok(JSON.stringify(command).length < SharedArena.create().commands.frameBytesMax - 1024);
});

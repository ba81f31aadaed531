/**
 * `deno task bench:untuned [--runs N] [--seconds S] [--cases A,B] [--links A,B] [--binary] [--json]`: one stream over links
 * that nothing was tuned on.
 *
 * @module
 */
import { benchLinks, type WantedLink } from "./cases/links.ts";

const LINKS: readonly WantedLink[] = [
  {
    name: "shallow",
    title: "20 ms, 50 Mbit/s, 10 ms of queue",
    settings: { delay: "10ms", rate: "50mbit", queue: "10ms" },
    atLeast: 0.9,
  },
  {
    name: "far",
    title: "150 ms, 100 Mbit/s, 0.5 % loss",
    settings: { delay: "75ms", rate: "100mbit", loss: "0.5%" },
    atLeast: 0.9,
  },
  {
    name: "satellite",
    title: "300 ms, 50 Mbit/s",
    settings: { delay: "150ms", rate: "50mbit" },
    atLeast: 0.9,
  },
  {
    name: "jitter",
    title: "40 ms, jitter 8 ms, 100 Mbit/s",
    settings: { delay: "20ms", jitter: "8ms", rate: "100mbit" },
    atLeast: 0.9,
  },
  {
    name: "bursts",
    title: "30 ms, 1 % loss in bursts of 8, 100 Mbit/s",
    settings: { delay: "15ms", loss: "1%", burst: "8", rate: "100mbit" },
    atLeast: 0.9,
  },
];

if (import.meta.main) {
  await benchLinks({
    name: "untuned",
    title: "One stream over links that nothing was tuned on",
    links: LINKS,
  });
}

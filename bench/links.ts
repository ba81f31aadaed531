/**
 * `deno task bench:links [--runs N] [--seconds S] [--cases A,B] [--links A,B] [--binary] [--json]`: one stream over the links
 * of issue 4.
 *
 * @module
 */
import { benchLinks, type WantedLink } from "./cases/links.ts";

const LINKS: readonly WantedLink[] = [
  { name: "clean", title: "66 ms", settings: { delay: "33ms" }, atLeast: 1 },
  {
    name: "reordering",
    title: "66 ms, 1 % reordering",
    settings: { delay: "33ms", reorder: "1%" },
    atLeast: 0.9,
  },
  {
    name: "loss1",
    title: "66 ms, 1 % loss",
    settings: { delay: "33ms", loss: "1%" },
    atLeast: 0.9,
  },
  {
    name: "loss3",
    title: "66 ms, 3 % loss",
    settings: { delay: "33ms", loss: "3%" },
    atLeast: 0.5,
  },
];

if (import.meta.main) {
  await benchLinks({ name: "links", title: "One stream over difficult links", links: LINKS });
}

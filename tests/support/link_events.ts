/**
 * `link_events.ts`: prints `changed` for each turn in which the kernel told of a change of links that matters; `ready` first, and
 * `read` once after each SIGUSR1, when all that was told before it has been taken in.
 *
 * @module
 */
import { LinkMonitor } from "../../io/mod.ts";
import { isVirtualInterface } from "../../traversal/mod.ts";
import { say } from "./say.ts";

let asked = 0;
Deno.addSignalListener("SIGUSR1", () => void asked++);
using monitor = LinkMonitor.open({ ignores: isVirtualInterface });
say("ready");
for (;;) {
  const answers = asked;
  if (monitor.read()) say("changed");
  // Everything that was told before the signal has been read by now.
  for (; asked > 0 && answers > 0; asked = 0) say("read");
  await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Notices that this machine is elsewhere, or was asleep. @module */
import { listInterfaces, watchInterfaces, watchSleep } from "../io/mod.ts";
import { isVirtualInterface } from "../traversal/mod.ts";
import { CLOCKS_MS, INTERFACES_MS, INTERFACES_RARELY_MS } from "./mesh_settings.ts";
import type { Log } from "./options.ts";

/** What {@linkcode watchLinks} needs. */
export interface LinkWatchOptions {
  /** Whether the system tells of changes, so that it need not be asked often. */
  readonly tells: boolean;
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Where the log goes. */
  readonly log: Log;
  /** Called with each change of the interfaces, and after a sleep of so many milliseconds. */
  readonly onChange: (sleptMs: number) => void;
}

/** Looks at the interfaces and the clocks until the signal is aborted. */
export function watchLinks({ tells, signal, log, onChange }: LinkWatchOptions): void {
  watchInterfaces({
    intervalMs: tells ? INTERFACES_RARELY_MS : INTERFACES_MS,
    signal,
    onChange: () => onChange(0),
    list: () => listInterfaces().filter(({ name }) => !isVirtualInterface(name)),
  });
  watchSleep({
    everyMs: CLOCKS_MS,
    signal,
    onWake: (awayMs) => {
      log("info", `awake again after ${Math.round(awayMs / 1000)} s`);
      onChange(awayMs);
    },
  });
}

/** What processes have used so far, from `/proc` (Linux). @module */
import { residentBytes } from "../tests/support/child.ts";

/** `sysconf(_SC_CLK_TCK)` of every Linux that Deno runs on. */
const TICKS_PER_SECOND = 100;

/** User and system time of a process with all its threads, in seconds. */
export function cpuSeconds(pid: number): number {
  return parseCpuSeconds(Deno.readTextFileSync(`/proc/${pid}/stat`));
}

/** Reads user and system time from the text of `/proc/PID/stat` (proc_pid_stat(5)). */
export function parseCpuSeconds(stat: string): number {
  // The name may hold blanks and brackets; the fields after its end do not.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const seconds = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  if (Number.isNaN(seconds)) throw new Error("No times in the stat of a process");
  return seconds;
}

/** Resident memory of a process in MiB. */
export function residentMiB(pid: number): number {
  return residentBytes(pid) / (1 << 20);
}

/** CPU seconds that each of `pids` uses while `work` runs, and what `work` returns. */
export async function withCpuOf<T>(
  pids: readonly number[],
  work: () => Promise<T>,
): Promise<{ readonly value: T; readonly cpu: readonly number[] }> {
  const before = pids.map(cpuSeconds);
  const value = await work();
  return { value, cpu: pids.map((pid, i) => cpuSeconds(pid) - (before[i] ?? 0)) };
}

/**
 * Reads something before `work` runs, again and again while it does, and once at its end. Rejects with what a read throws,
 * but not before `work` is over.
 */
export async function whileSampling<T>(
  { read, everyMs }: { readonly read: () => T; readonly everyMs: number },
  work: () => Promise<void>,
): Promise<readonly T[]> {
  const samples: T[] = [read()];
  let failure: { readonly error: unknown } | undefined;
  const timer = setInterval(() => {
    try {
      samples.push(read());
    } catch (error) {
      failure ??= { error };
    }
  }, everyMs);
  try {
    await work();
    samples.push(read());
  } finally {
    clearInterval(timer);
  }
  if (failure !== undefined) throw failure.error;
  return samples;
}

/** A line on standard output, for what a test tells the person who runs it. @module */

/** Prints one line. */
export function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

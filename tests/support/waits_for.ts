/** Tests of what is still being built: they run, and say what is missing. @module */
import { messageOf } from "../../core/mod.ts";
import { say } from "./say.ts";

/**
 * Runs the body of a test that need not pass yet, and prints whether it does. Without a reason to wait it must pass.
 *
 * What the body holds open must belong to the test's scope, which ends either way.
 */
export async function waitsFor(
  what: string | undefined,
  { title, body }: { readonly title: string; readonly body: () => Promise<void> },
): Promise<void> {
  try {
    await body();
    if (what !== undefined) say(`${title}: passes, although it waits for ${what}`);
  } catch (error) {
    if (what === undefined) throw error;
    say(`${title}: waits for ${what}: ${messageOf(error)}`);
  }
}

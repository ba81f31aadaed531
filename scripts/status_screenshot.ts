/**
 * `deno run -A --unstable-net scripts/status_screenshot.ts`: makes `docs/status.png`, the status page of a mesh that really runs,
 * on 127.0.0.1, with names that nobody has. Needs Chromium, as the browser test does.
 *
 * @module
 */
import { startChromium } from "../tests/support/browser.ts";
import { signIn, startStatusScene } from "../tests/support/status_scene.ts";
import { OwnScope } from "../tests/support/scope.ts";
import { ROOT, say } from "./steps.ts";

/** Largest picture. */
const BYTES_MAX = 200_000;

await using scope = new OwnScope();
const { url } = await startStatusScene(scope);
const browser = await startChromium(scope);
const page = await browser.newPage({
  viewport: { width: 1280, height: 1100 },
  colorScheme: "light",
});
await signIn(page, url);
await page.getByText("Live", { exact: true }).waitFor();
const path = `${ROOT}docs/status.png`;
const picture = await page.screenshot({ path });
if (picture.length > BYTES_MAX) throw new RangeError(`${path} has ${picture.length} bytes`);
say(`docs/status.png: ${picture.length} bytes`);

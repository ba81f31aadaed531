/** The status page in a real browser: with and without JavaScript, by keyboard, for assistive technology, on a narrow screen. */
import {
  deepStrictEqual as assertEquals,
  doesNotMatch,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import axe from "axe-core";
import type { Page } from "playwright-core";
import { aloneBinary, type Program, SOURCE } from "../support/moray.ts";
import { startChromium } from "../support/browser.ts";
import { e2e, type Scope } from "../support/scope.ts";
import {
  SCENE_RELAY_SECRET,
  SCENE_TOKEN,
  signIn,
  startStatusScene,
  textRows,
} from "../support/status_scene.ts";

/** What axe found wrong, one line each. */
async function faultsOf(page: Page): Promise<string[]> {
  // Through the debugger, which the page's policy does not bind.
  await page.evaluate(axe.source);
  const found = await page.evaluate(
    `axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })`,
  ) as { passes: unknown[]; violations: { id: string; nodes: { html: string }[] }[] };
  assert(found.passes.length > 15, "axe looked at the page");
  return found.violations.map(({ id, nodes }) =>
    `${id}: ${nodes.map(({ html }) => html).join(" ")}`
  );
}

/** Everything that the scene's processes keep to themselves. */
async function secretsOf(states: readonly string[]): Promise<string[]> {
  const secrets = [SCENE_TOKEN, SCENE_RELAY_SECRET];
  for (const state of states) {
    for await (const { name, isFile } of Deno.readDir(state)) {
      if (!isFile || !/key/.test(name)) continue;
      secrets.push((await Deno.readTextFile(`${state}/${name}`)).trim());
    }
  }
  return secrets;
}

function browserTest(makeProgram: (scope: Scope) => Program, title: string, binary: boolean): void {
  e2e(
    `${title}: the status page in Chromium, with JavaScript and without, by keyboard, without secrets`,
    {
      needs: binary ? ["full", "chromium", "binary"] : ["full", "chromium"],
      timeoutMs: 180_000,
    },
    async (scope) => {
      const scene = await startStatusScene(scope, { program: makeProgram(scope) });
      const browser = await startChromium(scope);
      const complaints: string[] = [];
      const requests: string[] = [];
      const watch = (page: Page): Page => {
        page.on("console", (message) => {
          if (message.type() !== "error") return;
          // The answer to a wrong token is an error on purpose.
          if (!/status of 401/.test(message.text())) complaints.push(message.text());
        });
        page.on("pageerror", (error) => complaints.push(String(error)));
        page.on("request", (request) => requests.push(request.url()));
        return page;
      };

      // Without JavaScript.
      const plain = await browser.newContext({ javaScriptEnabled: false });
      const still = watch(await plain.newPage());
      await still.goto(scene.url);
      await still.getByLabel("Token").fill("not-the-right-token-at-all");
      await still.getByRole("button", { name: "Sign in" }).click();
      assertEquals(await still.getByRole("alert").textContent(), "That is not the token.");
      assertEquals(await still.locator("table").count(), 0);
      await signIn(still, scene.url);
      const html = await still.content();
      const rows = textRows(html);
      for (
        const said of [
          /^colony colony reef .* (?:\d direct|direct)/,
          /^kelp agent reef \S+… .* direct /,
          /^urchin agent reef \S+… .* relayed by relay direct paths are switched off/,
          /^relay configured offered /,
        ]
      ) {
        assert(rows.some((row) => said.test(row)), `${said} in\n${rows.join("\n")}`);
      }
      const shown = async (name: string): Promise<string> =>
        (await still.locator(`#${name} caption`).textContent()) ?? "";
      assertEquals(await shown("nodes"), "Registered nodes of all meshes: 4");
      assertEquals(await shown("meshes"), "Meshes with live registrations: 1");
      await still.getByLabel("Nodes of mesh").fill("atoll");
      await still.getByRole("button", { name: "Show" }).click();
      assertMatch(
        await still.locator("#nodes").textContent() ?? "",
        /No node is registered in mesh atoll/,
      );

      // With it: by keyboard, live.
      const context = await browser.newContext();
      const page = watch(await context.newPage());
      await signIn(page, scene.url);
      await page.getByText("Live", { exact: true }).waitFor();
      await page.evaluate(`window.untouched = true`);
      await page.keyboard.press("Tab");
      assertEquals(
        await page.evaluate(`document.activeElement.textContent`),
        "Skip to the content",
      );
      await page.keyboard.press("Enter");
      assertEquals(await page.evaluate(`document.activeElement.id`), "main");
      // The focus stays while parts are replaced beneath it.
      const link = page.getByRole("link", { name: "last seen" });
      await link.focus();
      assertEquals(
        await page.evaluate(`getComputedStyle(document.activeElement).outlineStyle`),
        "solid",
      );
      await page.getByRole("row", { name: /kelp/ }).waitFor();
      assertEquals(await scene.agents.kelp.stop(), 0);
      await page.getByRole("row", { name: /kelp/ }).waitFor({ state: "detached", timeout: 10_000 });
      await page.getByText("1 mesh: 1 colony, 2 agents").waitFor();
      assertEquals(await page.evaluate(`window.untouched`), true, "the page was not loaded again");
      assertEquals(await page.evaluate(`document.activeElement.textContent`), "last seen");
      assertEquals(await page.getByRole("status").getAttribute("aria-live"), "polite");

      // For assistive technology, in both themes, on a narrow screen.
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        assertEquals(await faultsOf(page), [], colorScheme);
      }
      await page.setViewportSize({ width: 360, height: 740 });
      const width = await page.evaluate(`document.documentElement.scrollWidth`);
      assert(Number(width) <= 360, `${width} px wide`);
      assertEquals(await faultsOf(page), []);
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Sign out" }).focus();
      await page.keyboard.press("Enter");
      await page.getByLabel("Token").waitFor();
      assertEquals(await faultsOf(page), []);

      // Nothing from elsewhere, nothing against the policy, and no secret.
      assertEquals(complaints, []);
      for (const url of requests) assert(url.startsWith(scene.url) || url.startsWith("data:"), url);
      const secrets = await secretsOf(scene.states);
      assert(secrets.length > 2 + 4 - 1, "the nodes' keys are among them");
      const all = [html, scene.discovery.child.log];
      for (const path of ["/", "/?mesh=reef", "/status.js", "/status.css"]) {
        const authorization = `Bearer ${SCENE_TOKEN}`;
        all.push(await (await fetch(`${scene.url}${path}`, { headers: { authorization } })).text());
      }
      for (const text of all) {
        for (const secret of secrets) assert(secret !== "" && !text.includes(secret));
      }
      doesNotMatch(html, /127\.0\.0\.1|\bfd[0-9a-f]{2}:/, "addresses");
    },
  );
}

browserTest(() => SOURCE, "source", false);
browserTest(aloneBinary, "binary", true);

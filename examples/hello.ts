/** Joins a mesh by an invite and fetches a page of its colony: `deno run -A examples/hello.ts INVITE`. @module */
import { Node } from "../mod.ts";

const [join = ""] = Deno.args;
await using node = await Node.start({ join, state: "./hello-state" });
const page = await node.fetch("http://colony/");
await page.body?.pipeTo(Deno.stdout.writable);

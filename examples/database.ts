/**
 * Runs a command with a database of the mesh at hand: `deno run -A examples/database.ts INVITE psql -U me app`.
 *
 * The colony exposes its database (`moray colony --expose 5432:127.0.0.1:5432`); here a local port leads to it for as long as the
 * command runs, which finds it by `PGHOST` and `PGPORT`.
 *
 * @module
 */
import { Node } from "../mod.ts";

const [join = "", program = "psql", ...args] = Deno.args;
await using node = await Node.start({
  join,
  state: "./database-state",
  forwards: [{ listen: { hostname: "127.0.0.1", port: 0 }, peer: "colony", port: 5432 }],
});
const [, PGPORT = ""] = /^forward=.*:(\d+)$/m.exec(node.listening.join("\n")) ?? [];
const env = { PGHOST: "127.0.0.1", PGPORT };
// Inherits our input and output.
const { code } = await new Deno.Command(program, { args, env }).spawn().status;
Deno.exitCode = code;

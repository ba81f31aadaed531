/** Calls the ConnectRPC service of a colony over the tunnel: `deno run -A examples/rpc/agent.ts DISCOVERY NAME`. @module */
// deno-lint-ignore-file no-console -- what an example says is its result
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { Node } from "../../mod.ts";
import { ReefService } from "./gen/reef/v1/reef_pb.ts";

const [discovery = "http://127.0.0.1:8080", name = "walker"] = Deno.args;
await using node = await Node.start({ mesh: "reef", discovery, name });
const transport = createConnectTransport({
  baseUrl: "http://colony/",
  fetch: (input, init) => node.fetch(input, init),
});
const reef = createClient(ReefService, transport);

console.log((await reef.greet({ greeting: "Hello" })).text);
for await (const { heightCm } of reef.watchTide({ steps: 3 })) console.log(`${heightCm} cm`);

/**
 * A ConnectRPC service inside the mesh: `deno run -A examples/rpc/colony.ts DISCOVERY`.
 *
 * `node.serve` takes the handlers that Connect makes for any server of `fetch` requests, so interceptors, streams and errors are
 * Connect's own. Who calls is known by the tunnel: no token is needed to learn the name.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- what an example says is its result
import {
  Code,
  ConnectError,
  createConnectRouter,
  createContextKey,
  createContextValues,
} from "@connectrpc/connect";
import {
  universalServerRequestFromFetch,
  universalServerResponseToFetch,
} from "@connectrpc/connect/protocol";
import { Node } from "../../mod.ts";
import { untilStopped } from "../until_stopped.ts";
import { ReefService } from "./gen/reef/v1/reef_pb.ts";

const STEPS_MAX = 100;

const [discovery = "http://127.0.0.1:8080"] = Deno.args;
const signal = untilStopped();
const options = { role: "colony", mesh: "reef", discovery, open: true, signal } as const;
await using node = await Node.start(options);

const caller = createContextKey("stranger", { description: "name of the node that calls" });
const router = createConnectRouter().service(ReefService, {
  greet: ({ greeting }, { values }) => ({ text: `${greeting} yourself, ${values.get(caller)}` }),
  async *watchTide({ steps }, context): AsyncGenerator<{ heightCm: number }> {
    if (steps < 1 || steps > STEPS_MAX) {
      throw new ConnectError(`steps is 1 to ${STEPS_MAX}`, Code.InvalidArgument);
    }
    for (let step = 1; step <= steps && !context.signal.aborted; step++) {
      yield { heightCm: 10 * step };
      await new Promise((wake) => setTimeout(wake, 100));
    }
  },
});
const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));

node.serve(async (request, { remoteAddr }) => {
  const handler = handlers.get(new URL(request.url).pathname);
  if (handler === undefined) return new Response("Not found\n", { status: 404 });
  const peer = await node.whois(remoteAddr.hostname);
  const contextValues = createContextValues().set(caller, peer?.name ?? "stranger");
  const call = { ...universalServerRequestFromFetch(request, {}), contextValues };
  return universalServerResponseToFetch(await handler(call));
});
console.error("ready");
await node.finished;

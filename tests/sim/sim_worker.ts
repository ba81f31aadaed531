/** A thread that runs a world for each seed that it is sent, and answers with what became of it. @module */
import { loadEngine } from "./engine_module.ts";
import type { Order } from "./run_seeds.ts";
import { scenarioOf } from "./scenario.ts";
import { runWorld } from "./world.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent<Order>) => void;
  postMessage(message: unknown): void;
};
const module = loadEngine();

scope.onmessage = ({ data: { seed, expectations, relays } }) => {
  scope.postMessage(runWorld(scenarioOf(seed, { relays }), { module, expectations }));
};

/** A thread that runs a world for each seed that it is sent, and answers with what became of it. @module */
import { loadEngine } from "./engine_module.ts";
import { scenarioOf } from "./scenario.ts";
import { runWorld } from "./world.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent<number>) => void;
  postMessage(message: unknown): void;
};
const module = loadEngine();

scope.onmessage = ({ data: seed }) => {
  scope.postMessage(runWorld(scenarioOf(seed), { module }));
};

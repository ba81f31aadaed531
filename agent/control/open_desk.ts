/** Opens the side of the control service that a node is on. The other one is not loaded. @module */
import type { ControlOptions, ControlSide } from "./control_side.ts";

/** Opens it, with what the state directory knows. */
export async function openDesk(options: ControlOptions): Promise<ControlSide> {
  if (options.role === "colony") {
    const { ColonyDesk } = await import("./colony_desk.ts");
    return await ColonyDesk.open(options);
  }
  const { AgentDesk } = await import("./agent_desk.ts");
  return await AgentDesk.open(options);
}

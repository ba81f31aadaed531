/** `moray revoke PEER`: throws a node out of the mesh. @module */
import { type Command, defineCommand } from "./command.ts";
import { operand } from "./parameter.ts";
import { COMMON_QUIET, JSON_OUTPUT, STATE } from "./parameters.ts";
import { text } from "./values.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: {
    peer: operand("peer", text("PEER", "a member's name or public key, for example laptop"), {
      description: "Name or public key of the node.",
      hint: "name a member, for example moray revoke laptop --state ./colony",
    }),
    state: STATE,
    json: JSON_OUTPUT,
    ...COMMON_QUIET,
  },
  description:
    "Throws a node out of the mesh of the colony that runs with this state directory: it is cut off at " +
    "once, Discovery and the relays end what it has there, and it comes back only with a new invite. " +
    "Members are listed by moray invite --list.",
  examples: ["moray revoke laptop --state ./colony"],
  run: async ({ peer, state, json = false }, context) => {
    const { connectLocalApi } = await import("../agent/mod.ts");
    using node = await connectLocalApi(state);
    const revoked = await node.membership.revoke(peer);
    context.out(json ? `${JSON.stringify(revoked)}\n` : `revoked ${peer}\n`);
    if (!revoked.published) {
      context.err("Discovery does not know of it yet, and is told as soon as it answers.\n");
    }
    return 0;
  },
});

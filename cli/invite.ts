/** `moray invite`: one string by which a new agent joins the mesh. @module */
import { type Command, defineCommand } from "./command.ts";
import { COMMON_QUIET, INVITE, JSON_OUTPUT, STATE } from "./parameters.ts";
import { formatMembers } from "./membership_view.ts";
import { MorayError } from "../core/mod.ts";

const UNPUBLISHED =
  "Discovery does not know of it yet, and is told as soon as it answers the colony.";

/** The command. */
export const command: Command = defineCommand({
  parameters: { state: STATE, ...INVITE, json: JSON_OUTPUT, ...COMMON_QUIET },
  description:
    "Asks the colony that runs with this state directory for an invite and prints it: one string that " +
    "lets one agent in, once, with moray agent --join. Whoever has it can join, so send it as a " +
    "secret. With --list the members and the open invites, with --cancel one of those is taken back.",
  examples: [
    "moray invite --state ./colony",
    "moray invite --state ./colony --name laptop --expires 1h",
    "moray invite --state ./colony --list",
  ],
  run: async ({ state, name, expires, list = false, cancel, json = false }, context) => {
    if (list && cancel !== undefined) throw new MorayError("usage", "--list or --cancel: not both");
    const { connectLocalApi } = await import("../agent/mod.ts");
    using node = await connectLocalApi(state);
    const { membership } = node;
    if (list) {
      const members = await membership.members();
      context.out(json ? `${JSON.stringify(members, null, 2)}\n` : formatMembers(members));
      return 0;
    }
    if (cancel !== undefined) {
      const { published } = await membership.cancelInvite(cancel);
      if (json) context.out(`${JSON.stringify({ cancelled: cancel, published })}\n`);
      if (!published) context.err(`${UNPUBLISHED}\n`);
      return 0;
    }
    const issued = await membership.invite({
      lifeMs: expires,
      ...(name !== undefined && { name }),
    });
    context.out(json ? `${JSON.stringify(issued)}\n` : `${issued.invite}\n`);
    if (!issued.published) context.err(`${UNPUBLISHED}\n`);
    return 0;
  },
});

/** The flags that only a colony has. @module */
import { optional, type Parameters, toggle } from "./parameter.ts";
import { FILE, SUBNET } from "./values.ts";

/** `--open`. */
export const OPEN = toggle("open", {
  group: "Mesh",
  description: "Admit every node that comes and proves its key, without an invite.",
  fallback: "off: by invite only",
});

/** `colony` only. */
export const COLONY_NODE = {
  open: OPEN,
  policyFile: optional("policy", FILE, {
    group: "Mesh",
    description:
      "Who may reach whom in the mesh, and on which ports (TOML). Changes count at once.",
    fallback: "agents and colony reach each other, agents no other agents",
  }),
  meshSubnet: optional("mesh-subnet", SUBNET, {
    group: "Mesh",
    description: "Block that nodes get IPv4 addresses from, inside a private range, /8 to /30.",
    fallback: "10.42.0.0/16",
  }),
} as const satisfies Parameters;

/** The program from its source behind NATs, in network namespaces. */
import { SOURCE } from "../support/moray.ts";
import { natTests } from "./nat.ts";

natTests(() => SOURCE, { title: "source", needs: [] });

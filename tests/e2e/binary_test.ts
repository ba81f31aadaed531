/** The compiled program, copied alone into an empty directory, with an empty environment. */
import { aloneBinary } from "../support/moray.ts";
import { loopbackTests } from "./loopback.ts";
import { natTests } from "./nat.ts";

loopbackTests(aloneBinary, { title: "binary", needs: ["full", "binary"] });
natTests(aloneBinary, { title: "binary", needs: ["binary"] });

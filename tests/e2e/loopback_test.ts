/** The program from its source on 127.0.0.1: part of the README's test command, needs nothing but Deno. */
import { SOURCE } from "../support/moray.ts";
import { loopbackTests } from "./loopback.ts";

loopbackTests(() => SOURCE, { title: "source", needs: [] });

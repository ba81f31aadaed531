/**
 * Clients of a service without HTTP: what the HTTP side finds out about a caller is said by the test, so that the rules of the service
 * are tested by themselves. Proofs are tested where they are checked.
 *
 * @module
 */
import {
  type Client,
  type ContextValues,
  createClient,
  createRouterTransport,
  type Interceptor,
} from "@connectrpc/connect";
import { formatBase64 } from "../../core/mod.ts";
import { DiscoveryService } from "../../proto/mod.ts";
import { provenKey } from "../service/proven.ts";
import type { Service } from "../service/service.ts";

/** Makes clients of a service, each of whoever holds a key; of who proves none without one. */
export function provingClients(
  service: Pick<Service, "methods">,
): (publicKey?: string) => Client<typeof DiscoveryService> {
  return (publicKey = "") => clientOf(service, (_, values) => values.set(provenKey, publicKey));
}

/**
 * A client that proves the key that a request names as its sender's, as nodes do, and `otherwise` where it names none. `also` sets
 * what else the HTTP side would say of a call.
 */
export function selfProvingClient(
  service: Pick<Service, "methods">,
  otherwise: string,
  also: (values: ContextValues) => void = () => {},
): Client<typeof DiscoveryService> {
  return clientOf(service, (message, values) => {
    values.set(provenKey, senderOf(message) ?? otherwise);
    also(values);
  });
}

/** A client of whose calls `look` is told before they are answered. */
function clientOf(
  service: Pick<Service, "methods">,
  look: (message: object, values: ContextValues) => void,
): Client<typeof DiscoveryService> {
  const interceptor: Interceptor = (next) => async (request) => {
    const { contextValues } = request;
    if (!request.stream) {
      look(request.message, contextValues);
      return await next(request);
    }
    const { message: messages } = request;
    const looked = async function* (): AsyncGenerator<object> {
      for await (const message of messages) {
        look(message, contextValues);
        yield message;
      }
    };
    return await next({ ...request, message: looked() as typeof messages });
  };
  const transport = createRouterTransport(
    (routes) => void routes.service(DiscoveryService, service.methods),
    { router: { interceptors: [interceptor] } },
  );
  return createClient(DiscoveryService, transport);
}

/** The key of whoever sends a request; `undefined` where it does not say. A look-up names another's. */
function senderOf(message: object): string | undefined {
  const fields = message as Readonly<Record<string, unknown>>;
  if (String(fields["$typeName"]).endsWith(".LookupAgentRequest")) return undefined;
  for (const name of ["pubkey", "fromPubkey", "nodePubkey", "agentPubkey"]) {
    const value = fields[name];
    if (typeof value === "string" && value !== "") return value;
    if (value instanceof Uint8Array && value.length > 0) return formatBase64(value);
  }
  return undefined;
}

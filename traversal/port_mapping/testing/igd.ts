/** A UPnP gateway in memory: the other side of what is tested. For tests. @module */
import type { SocketAddress } from "../../../core/mod.ts";
import type { HttpRequest, HttpResponse } from "../upnp.ts";
import { childText, findElement, parseXml, type XmlElement } from "../xml.ts";

/** How an {@linkcode Igd} behaves; may be changed while it runs. */
export interface IgdManners {
  /** Whether it answers at all. */
  alive: boolean;
  /** Version of the device and of its service. */
  version: 1 | 2;
  /** Its address outside. */
  external: string;
  /** Error code of every mapping. */
  refuses: number;
  /** Whether it keeps mappings only for ever (error 725). */
  onlyPermanent: boolean;
  /** Ports that other hosts have. */
  taken: readonly number[];
  /** The control URL of its description. */
  controlUrl: string;
}

/** One entry of its table. */
export interface IgdEntry {
  /** Internal address. */
  client: string;
  /** Internal port. */
  port: string;
  /** Seconds. */
  lease: string;
}

/** A gateway in memory. */
export class Igd {
  /** How it behaves. */
  readonly manners: IgdManners;
  /** External port to entry. */
  readonly table = new Map<number, IgdEntry>();
  /** The actions asked for, in order. */
  readonly actions: string[] = [];
  readonly #server: SocketAddress;

  /** A gateway with an empty table at an address. */
  constructor(server: SocketAddress, manners: Partial<IgdManners> = {}) {
    this.#server = server;
    this.manners = {
      alive: true,
      version: 2,
      external: "203.0.113.9",
      refuses: 0,
      onlyPermanent: false,
      taken: [],
      controlUrl: "/ctl/IPConn",
      ...manners,
    };
  }

  /** Answers a search, or does not. */
  search(payload: Uint8Array): Uint8Array | undefined {
    const target = /^ST: (.*)$/m.exec(new TextDecoder().decode(payload))?.[1]?.trim() ?? "";
    const device = `urn:schemas-upnp-org:device:InternetGatewayDevice:`;
    if (!this.manners.alive || target !== `${device}${this.manners.version}`) return undefined;
    const { hostname, port } = this.#server;
    const lines = [
      "HTTP/1.1 200 OK",
      "CACHE-CONTROL: max-age=120",
      `ST: ${target}`,
      `USN: uuid:1::${target}`,
      `LOCATION: http://${hostname}:${port}/rootDesc.xml`,
    ];
    return new TextEncoder().encode(lines.join("\r\n") + "\r\n\r\n");
  }

  /** Answers an HTTP request, or does not. */
  fetch({ method, location, body = "" }: HttpRequest): HttpResponse | undefined {
    if (!this.manners.alive || location.server.port !== this.#server.port) return undefined;
    if (method === "GET") return { status: 200, body: this.#description() };
    const root = parseXml(body);
    const call = findElement(root, "Body")?.children[0];
    if (call === undefined) return { status: 400, body: "" };
    this.actions.push(call.name);
    return this.#act(call);
  }

  #act(call: XmlElement): HttpResponse {
    const { external, version, refuses, onlyPermanent, taken } = this.manners;
    const port = Number(childText(call, "NewExternalPort"));
    switch (call.name) {
      case "GetExternalIPAddress":
        return done(call.name, { NewExternalIPAddress: external });
      case "AddAnyPortMapping":
      case "AddPortMapping": {
        const any = call.name === "AddAnyPortMapping";
        if (any && version === 1) return error(401, "Invalid Action");
        if (refuses !== 0) return error(refuses, "refused");
        const lease = childText(call, "NewLeaseDuration");
        if (onlyPermanent && lease !== "0") return error(725, "OnlyPermanentLeasesSupported");
        if (taken.includes(port) && !any) return error(718, "ConflictInMappingEntry");
        const given = taken.includes(port) ? 50_000 : port;
        const client = childText(call, "NewInternalClient");
        this.table.set(given, { client, port: childText(call, "NewInternalPort"), lease });
        return done(call.name, any ? { NewReservedPort: String(given) } : {});
      }
      case "GetSpecificPortMappingEntry": {
        const entry = this.table.get(port);
        if (entry === undefined) return error(714, "NoSuchEntryInArray");
        return done(call.name, { NewInternalPort: entry.port, NewInternalClient: entry.client });
      }
      case "DeletePortMapping":
        return this.table.delete(port) ? done(call.name, {}) : error(714, "NoSuchEntryInArray");
      default:
        return error(401, "Invalid Action");
    }
  }

  #description(): string {
    const { version, controlUrl } = this.manners;
    return `<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:${version}</deviceType>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>
<controlURL>/ctl/L3F</controlURL></service></serviceList>
<deviceList><device><deviceList><device><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:${version}</serviceType>
<controlURL>${controlUrl}</controlURL><SCPDURL>/WANIPCn.xml</SCPDURL>
</service></serviceList></device></deviceList></device></deviceList></device></root>`;
  }
}

function done(action: string, values: Readonly<Record<string, string>>): HttpResponse {
  const inside = Object.entries(values).map(([name, value]) => `<${name}>${value}</${name}>`);
  return soap(200, `<u:${action}Response xmlns:u="x">${inside.join("")}</u:${action}Response>`);
}

function error(code: number, description: string): HttpResponse {
  return soap(
    500,
    `<s:Fault><faultcode>s:Client</faultcode><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">` +
      `<errorCode>${code}</errorCode><errorDescription>${description}</errorDescription>` +
      `</UPnPError></detail></s:Fault>`,
  );
}

function soap(status: number, inside: string): HttpResponse {
  const body = `<?xml version="1.0"?><s:Envelope><s:Body>${inside}</s:Body></s:Envelope>`;
  return { status, body };
}

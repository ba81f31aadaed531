import { deepStrictEqual as assertEquals, match as assertMatch } from "node:assert/strict";
import { decodeSearchAnswer, encodeSearch, parseHttpLocation, SSDP_TARGETS } from "./ssdp.ts";
import { Igd } from "./testing/igd.ts";
import {
  addPortMapping,
  describe,
  parseActionResult,
  parseDescription,
  parseExternalAddress,
  parsePort,
} from "./upnp.ts";

const SERVER = { hostname: "192.168.1.1", port: 5000 };
const LOCATION = { server: SERVER, path: "/rootDesc.xml" };
const SOURCE = { hostname: "192.168.1.1", port: 1900 };

function answer(lines: readonly string[]): Uint8Array {
  return new TextEncoder().encode(["HTTP/1.1 200 OK", ...lines, "", ""].join("\r\n"));
}

Deno.test("encodeSearch is the M-SEARCH of the architecture's section 1.3.2", () => {
  assertEquals(
    new TextDecoder().decode(encodeSearch(SSDP_TARGETS[0] ?? "")),
    'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n' +
      "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n",
  );
});

Deno.test("decodeSearchAnswer hears a gateway that describes itself on its own host", () => {
  const st = `st: ${SSDP_TARGETS[0]}`;
  const here = answer([st, "Location: http://192.168.1.1:5000/rootDesc.xml"]);
  assertEquals(decodeSearchAnswer({ source: SOURCE, payload: here }), LOCATION);
  const cases: Record<string, Uint8Array> = {
    "another host": answer([st, "LOCATION: http://192.168.1.2:5000/rootDesc.xml"]),
    "a name": answer([st, "LOCATION: http://router.example/rootDesc.xml"]),
    "https": answer([st, "LOCATION: https://192.168.1.1/rootDesc.xml"]),
    "a user": answer([st, "LOCATION: http://a:b@192.168.1.1/rootDesc.xml"]),
    "no location": answer([st]),
    "another device": answer(["ST: upnp:rootdevice", "LOCATION: http://192.168.1.1:5000/d"]),
    "no success": new TextEncoder().encode("HTTP/1.1 404 Not Found\r\n\r\n"),
    "junk": new Uint8Array([0xff, 0xfe, 0, 1]),
    "bulk": answer([st, `LOCATION: http://192.168.1.1/${"x".repeat(3000)}`]),
  };
  for (const [name, payload] of Object.entries(cases)) {
    assertEquals(decodeSearchAnswer({ source: SOURCE, payload }), undefined, name);
  }
});

Deno.test("parseHttpLocation follows relative URLs and knows port 80", () => {
  assertEquals(parseHttpLocation("/ctl?x=1", LOCATION), { server: SERVER, path: "/ctl?x=1" });
  assertEquals(parseHttpLocation("ctl", LOCATION), { server: SERVER, path: "/ctl" });
  assertEquals(parseHttpLocation("http://192.168.1.1/x")?.server.port, 80);
  for (const text of ["", "/x", "http://192.168.1.1:0/", "file:///etc/passwd", "http://[::1"]) {
    assertEquals(parseHttpLocation(text), undefined, text);
  }
});

Deno.test("parseDescription finds the services that map ports, the newest first, on the gateway's host only", () => {
  const igd = new Igd(SERVER);
  const read = (): unknown =>
    parseDescription(igd.fetch(describe(LOCATION)) ?? { status: 0, body: "" }, LOCATION);
  const type = "urn:schemas-upnp-org:service:WANIPConnection:2";
  assertEquals(read(), [{ type, control: { server: SERVER, path: "/ctl/IPConn" } }]);
  for (const url of ["http://192.168.1.9/ctl", "http://169.254.169.254/latest", "", "ftp://x/"]) {
    igd.manners.controlUrl = url;
    // An empty URL is the description's own.
    assertEquals((read() as unknown[]).length, url === "" ? 1 : 0, url);
  }
  const service = (kind: string): string =>
    `<service><serviceType>urn:schemas-upnp-org:service:${kind}</serviceType><controlURL>/${kind}</controlURL></service>`;
  const body = `<root><URLBase>http://192.168.1.1:6000/base/</URLBase>${
    service("WANPPPConnection:1")
  }${service("WANIPConnection:1")}${service("WANIPConnection:9")}</root>`;
  assertEquals(parseDescription({ status: 200, body }, LOCATION).map(({ control }) => control), [
    { server: { ...SERVER, port: 6000 }, path: "/WANIPConnection:1" },
    { server: { ...SERVER, port: 6000 }, path: "/WANPPPConnection:1" },
  ]);
  assertEquals(parseDescription({ status: 404, body }, LOCATION), []);
  assertEquals(parseDescription({ status: 200, body: "<html>" }, LOCATION), []);
});

Deno.test("addPortMapping writes the envelope that gateways know", () => {
  const type = "urn:schemas-upnp-org:service:WANIPConnection:1";
  const request = addPortMapping(
    { type, control: LOCATION },
    { externalPort: 40000, internalPort: 51820, client: "192.168.1.7", leaseSeconds: 7200 },
    { any: false },
  );
  assertEquals(request.action, `"${type}#AddPortMapping"`);
  assertMatch(
    request.body ?? "",
    /<u:AddPortMapping xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1"><NewRemoteHost><\/NewRemoteHost><NewExternalPort>40000<\/NewExternalPort><NewProtocol>UDP<\/NewProtocol><NewInternalPort>51820<\/NewInternalPort><NewInternalClient>192\.168\.1\.7<\/NewInternalClient><NewEnabled>1<\/NewEnabled><NewPortMappingDescription>moray<\/NewPortMappingDescription><NewLeaseDuration>7200<\/NewLeaseDuration><\/u:AddPortMapping>/,
  );
});

Deno.test("parseActionResult reads answers, refusals, and nothing else", () => {
  const ok = parseActionResult({
    status: 200,
    body:
      "<s:Envelope><s:Body><u:XResponse><NewReservedPort>7</NewReservedPort></u:XResponse></s:Body></s:Envelope>",
  });
  assertEquals(ok?.kind === "done" && ok.value("NewReservedPort"), "7");
  assertEquals(ok?.kind === "done" && ok.value("Other"), "");
  const refused = {
    status: 500,
    body:
      "<x><UPnPError><errorCode>718</errorCode><errorDescription>Con\u001b[31mflict</errorDescription></UPnPError></x>",
  };
  const expected = { kind: "refused", code: 718, description: "Con[31mflict" };
  assertEquals(parseActionResult(refused), expected);
  for (const body of ["", "<html/>", "<a><UPnPError><errorCode>x</errorCode></UPnPError></a>"]) {
    assertEquals(parseActionResult({ status: 500, body }), undefined, body);
    assertEquals(parseActionResult({ status: 200, body }), undefined, body);
  }
});

Deno.test("parseExternalAddress and parsePort take nothing but what they are for", () => {
  assertEquals(parseExternalAddress("203.0.113.9"), "203.0.113.9");
  for (const text of ["", "0.0.0.0", "router", "2001:db8::1", "::ffff:1.2.3.4", "1.2.3.4.5"]) {
    assertEquals(parseExternalAddress(text), undefined, text);
  }
  assertEquals([parsePort("1"), parsePort("65535")], [1, 65535]);
  for (const text of ["", "0", "65536", "-1", "1e3", " 1", "0x10"]) {
    assertEquals(parsePort(text), undefined, text);
  }
});

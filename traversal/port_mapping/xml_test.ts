import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { fuzzRuns, mutate, seeded } from "../testing/fuzz.ts";
import {
  childText,
  escapeXml,
  findElement,
  findElements,
  parseXml,
  XML_CHARACTERS_MAX,
  XML_DEPTH_MAX,
  XML_ELEMENTS_MAX,
} from "./xml.ts";

Deno.test("parseXml reads names without prefixes, texts, and attributes not at all", () => {
  assertEquals(
    parseXml(
      `<?xml version="1.0"?><!-- <no/> --><a:x y="1>2">t<b/>u<c> v &amp; &lt;&#65;&#x42; </c></a:x>`,
    ),
    {
      name: "x",
      text: "tu",
      children: [
        { name: "b", text: "", children: [] },
        { name: "c", text: "v & <AB", children: [] },
      ],
    },
  );
  assertEquals(parseXml("<a><![CDATA[<b>&amp;]]></a>")?.text, "<b>&amp;");
});

Deno.test("parseXml bears what gateways get wrong", () => {
  const open = parseXml("<root><service><type>t</type><url>/u</service></root>");
  assertEquals(open && childText(findElement(open, "service") ?? open, "url"), "/u");
  assertEquals(
    parseXml("<a>1 & 2 &nbsp; &#0; &#x110000;</a>")?.text,
    "1 & 2 &nbsp; &#0; &#x110000;",
  );
  assertEquals(parseXml("<a></b></a></a>")?.name, "a");
  assertEquals(parseXml("<a>no end")?.text, "");
  assertEquals(parseXml("<a><b>x</b>")?.children[0]?.text, "x");
});

Deno.test("parseXml passes over a tag that is none", () => {
  assertEquals(parseXml("<a><1/><b x='<'><c/></a>")?.children.map(({ name }) => name), ["c"]);
});

Deno.test("parseXml refuses document types, depth, and bulk", () => {
  const bomb = `<!DOCTYPE a [<!ENTITY b "x">]><a>&b;</a>`;
  const cases: Record<string, string> = {
    "a document type": bomb,
    "a document type inside": `<a>${bomb}</a>`,
    "a comment without end": "<a><!-- </a>",
    "an instruction without end": "<a><? </a>",
    "too deep": "<a>".repeat(XML_DEPTH_MAX + 1),
    "too many": `<a>${"<b/>".repeat(XML_ELEMENTS_MAX)}</a>`,
    "too long": `<a>${" ".repeat(XML_CHARACTERS_MAX)}</a>`,
    "nothing": "",
    "no element": "plain text",
  };
  for (const [name, text] of Object.entries(cases)) assertEquals(parseXml(text), undefined, name);
});

Deno.test("parseXml is linear: what makes others slow takes milliseconds", () => {
  const n = XML_CHARACTERS_MAX;
  const evil = [
    "<a ".repeat(n / 3),
    "<".repeat(n),
    "<a " + '"'.repeat(n - 3),
    "<a" + " b='".repeat(n / 4 - 1),
    ("<" + "a".repeat(127)).repeat(n / 128),
    "<!-- ".repeat(n / 5),
    "<?".repeat(n / 2),
    "<![CDATA[".repeat(n / 9),
    "&#".repeat(n / 2),
    "</a>".repeat(n / 4),
  ];
  const before = performance.now();
  for (const text of evil) parseXml(text);
  const took = performance.now() - before;
  assert(took < 1000, `${Math.round(took)} ms`);
});

Deno.test("findElements finds at every depth in document order", () => {
  const root = parseXml("<a><b>1</b><c><b>2<b>3</b></b></c></a>");
  assert(root !== undefined);
  assertEquals(findElements(root, "b").map(({ text }) => text), ["1", "2", "3"]);
  assertEquals(findElement(root, "b")?.text, "1");
  assertEquals([findElement(root, "x"), findElement(undefined, "x")], [undefined, undefined]);
});

Deno.test("escapeXml and parseXml are each other's end", () => {
  const text = `a<b>&"c'&amp;`;
  assertEquals(parseXml(`<x>${escapeXml(text)}</x>`)?.text, text);
});

Deno.test("parseXml survives any text", () => {
  const rng = seeded(1900);
  const seed = new TextEncoder().encode(
    `<?xml version="1.0"?><a:b c="d">&amp;&#65;<!-- e --><![CDATA[f]]><g/><h>i</h></a:b>`,
  );
  const decoder = new TextDecoder();
  for (let i = 0; i < fuzzRuns() / 4; i++) parseXml(decoder.decode(mutate(rng, seed)));
});

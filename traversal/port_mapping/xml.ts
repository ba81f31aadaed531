/**
 * Reads the little XML that gateways speak: element names and texts. Not a validating parser, and not a complete one.
 *
 * Gateways write bad XML, so that what is merely wrong is read as well as can be; what no gateway needs is refused: document
 * types (and with them entities), deep nesting, many elements, long texts.
 *
 * @module
 */

/** An element. */
export interface XmlElement {
  /** Its name without a prefix: gateways disagree about prefixes, and their names do not collide. */
  readonly name: string;
  /** The text directly inside, without surrounding blanks. */
  readonly text: string;
  /** The elements directly inside, in order. */
  readonly children: readonly XmlElement[];
}

/** Longest document read, in characters. */
export const XML_CHARACTERS_MAX = 65_536;
/** Most elements of a document. */
export const XML_ELEMENTS_MAX = 2_048;
/** Deepest nesting. */
export const XML_DEPTH_MAX = 32;

interface Open {
  readonly name: string;
  text: string;
  readonly children: XmlElement[];
}

/**
 * A comment, a CDATA section, a processing instruction, the start of a document type or of one of these that never ends, or a
 * tag. Linear in the length of the text: no part can match in two ways, and what never ends is the end.
 */
const MARKUP =
  /<!--[^]*?-->|<!\[CDATA\[([^]*?)\]\]>|<\?[^]*?\?>|<!|<\?|<(\/?)([A-Za-z_][\w.:-]{0,127})(?![\w.:-])((?:[^<>"']|"[^<"]*"|'[^<']*')*?)(\/?)>/g;

/** Parses a document and returns its root, or `undefined` for what is refused and for what has none. */
export function parseXml(text: string): XmlElement | undefined {
  if (text.length > XML_CHARACTERS_MAX) return undefined;
  const top: Open = { name: "", text: "", children: [] };
  const stack: Open[] = [top];
  let elements = 0;
  let at = 0;
  for (const match of text.matchAll(MARKUP)) {
    const [whole, data, end = "", qualified, , empty = ""] = match;
    const open = stack.at(-1) ?? top;
    open.text += unescape(text.slice(at, match.index));
    at = match.index + whole.length;
    if (data !== undefined) open.text += data;
    // A document type may define entities, and those have been weapons.
    else if (whole === "<!" || whole === "<?") return undefined;
    if (qualified === undefined) continue;
    const name = qualified.slice(qualified.indexOf(":") + 1);
    if (end !== "") {
      close(stack, name);
      continue;
    }
    if (++elements > XML_ELEMENTS_MAX || stack.length > XML_DEPTH_MAX) return undefined;
    if (empty !== "") open.children.push({ name, text: "", children: [] });
    else stack.push({ name, text: "", children: [] });
  }
  while (stack.length > 1) pop(stack);
  return top.children[0];
}

/** Returns the first element with a name, in document order, at any depth; the root counts. */
export function findElement(root: XmlElement | undefined, name: string): XmlElement | undefined {
  return root === undefined ? undefined : findElements(root, name)[0];
}

/** Returns every element with a name, in document order, at any depth; the root counts. */
export function findElements(root: XmlElement, name: string): readonly XmlElement[] {
  const inside = root.children.flatMap((child) => findElements(child, name));
  return root.name === name ? [root, ...inside] : inside;
}

/** Returns the text of the first element directly inside with a name; empty if there is none. */
export function childText({ children }: XmlElement, name: string): string {
  return children.find((child) => child.name === name)?.text ?? "";
}

/** Escapes text for between two tags. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>]/g, (c) => c === "&" ? "&amp;" : c === "<" ? "&lt;" : "&gt;");
}

/** Ends the innermost open element of that name, and what is open inside of it. An end without a start is left out. */
function close(stack: Open[], name: string): void {
  const depth = stack.findLastIndex((open) => open.name === name);
  if (depth < 1) return;
  while (stack.length > depth) pop(stack);
}

function pop(stack: Open[]): void {
  const done = stack.pop();
  if (done === undefined) return;
  const { name, text, children } = done;
  stack.at(-1)?.children.push({ name, text: text.trim(), children });
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

function unescape(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9A-Fa-f]{1,6})|(\w{2,4}));/g, (whole, ...groups) => {
    const [decimal, hex, name] = groups as (string | undefined)[];
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const code = decimal === undefined ? parseInt(hex ?? "", 16) : Number(decimal);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

/**
 * HTML from templates, in which everything is text unless it is HTML already.
 *
 * ```ts
 * import { markup } from "./html.ts";
 *
 * console.log(markup`<p title="${'"'}">${"<script>"}</p>`.text); // <p title="&quot;">&lt;script&gt;</p>
 * ```
 *
 * Values may stand between tags and within double-quoted attributes; nowhere else. An attribute that holds a URL takes only what
 * {@linkcode link} made.
 *
 * @module
 */

/** What a template takes. Nothing is shown for `undefined`. */
export type Content = Html | string | number | undefined | readonly Content[];

/** HTML that is sound: only {@linkcode markup} makes it. */
export class Html {
  /** Characters. */
  readonly text: string;

  private constructor(text: string) {
    this.text = text;
  }

  /** For this file. */
  static of(strings: TemplateStringsArray, values: readonly Content[]): Html {
    return new Html(
      strings.map((part, i) => i === 0 ? part : shown(values[i - 1]) + part).join(""),
    );
  }
}

/** Makes HTML of a template. */
export function markup(strings: TemplateStringsArray, ...values: readonly Content[]): Html {
  return Html.of(strings, values);
}

/** The path of this site, or of a part of it, with a query, for an attribute. */
export function link(
  path: `/${string}` | "",
  query: Readonly<Record<string, string | number | undefined>> = {},
): string {
  const given = Object.entries(query).flatMap(([key, value]) =>
    value === undefined || value === "" ? [] : [[key, String(value)]]
  );
  const search = new URLSearchParams(given).toString();
  return search === "" ? path : `${path}?${search}`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
  "`": "&#96;",
};

/** What has no form of its own, or turns the direction of what follows: controls, marks and overrides of direction. */
const FORMLESS = /[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** Text for HTML. What has no form of its own, but for tabs and line ends, is shown as a replacement character. */
export function escape(text: string): string {
  return text
    .replaceAll(FORMLESS, (letter) => letter === "\t" || letter === "\n" ? letter : "\ufffd")
    .replaceAll(/[&<>"'`]/g, (letter) => ENTITIES[letter] ?? "");
}

function shown(value: Content): string {
  if (value === undefined) return "";
  if (value instanceof Html) return value.text;
  if (typeof value === "object") return value.map(shown).join("");
  return escape(String(value));
}

import { doesNotMatch, equal as assertEqual } from "node:assert/strict";
import { assert as check, property, string } from "fast-check";
import { link, markup } from "./html.ts";

Deno.test("markup makes text of everything that is not markup", () => {
  const hostile = `<img src=x onerror="alert(1)">&'\``;
  assertEqual(
    markup`<p title="${hostile}">${hostile}</p>`.text,
    '<p title="&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;&#39;&#96;">' +
      "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;&#39;&#96;</p>",
  );
  assertEqual(
    markup`<ul>${[1, undefined, markup`<li>${"<"}</li>`, ["a", "&"]]}</ul>`.text,
    "<ul>1<li>&lt;</li>a&amp;</ul>",
  );
});

Deno.test("markup shows controls and marks of direction as replacement characters", () => {
  assertEqual(
    markup`${"a\u0000b\u001b[31mc\u202ed\u2066e\u200ff\u0085"}`.text,
    "a\ufffdb\ufffd[31mc\ufffdd\ufffde\ufffdf\ufffd",
  );
  assertEqual(markup`${"a\tb\nc é 漢 🐟"}`.text, "a\tb\nc é 漢 🐟");
});

Deno.test("markup lets no text leave its place", () => {
  check(property(string({ unit: "grapheme" }), (text) => {
    doesNotMatch(markup`${text}`.text, /[<>"'`]|&(?!(?:amp|lt|gt|quot|#39|#96);)/);
  }));
});

Deno.test("link makes a path with what is given", () => {
  assertEqual(link("/"), "/");
  assertEqual(link("/", { mesh: undefined, page: 2, sort: "" }), "/?page=2");
  assertEqual(
    link("/", { mesh: `"><script>&a=b javascript:` }),
    "/?mesh=%22%3E%3Cscript%3E%26a%3Db+javascript%3A",
  );
});

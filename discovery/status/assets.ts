/**
 * The page's style and script: texts in the program, as a compiled one has no files. They take nothing from anywhere else, and
 * nothing of them is inline, so that the page's policy can forbid that.
 *
 * @module
 */

/** The style: `GET /status.css`. Colours have a contrast of at least 4.5 to 1 in both themes; the browser test measures that. */
export const STYLE = `:root {
  color-scheme: light dark;
  --page: #ffffff;
  --text: #1b1f24;
  --quiet: #57606a;
  --line: #d0d7de;
  --shade: #f3f5f7;
  --link: #0550ae;
  --good: #116329;
  --bad: #a40e26;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1419;
    --text: #e6edf3;
    --quiet: #9ea7b3;
    --line: #3d444d;
    --shade: #1a2028;
    --link: #79b8ff;
    --good: #56d364;
    --bad: #ff8f88;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto;
  max-width: 90rem;
  padding: 0 1rem 2rem;
  background: var(--page);
  color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif;
}
header { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: baseline; }
h1 { font-size: 1.5rem; margin: 1rem 0 0.25rem; }
h2 { font-size: 1.15rem; margin: 1.75rem 0 0.5rem; }
p { margin: 0.25rem 0; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 0.5rem; top: 0.5rem; padding: 0.5rem; background: var(--page); z-index: 1; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 0.9rem; }
caption { text-align: left; color: var(--quiet); padding: 0.25rem 0; }
th, td { border: 1px solid var(--line); padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }
thead th { background: var(--shade); }
tbody th { font-weight: 600; }
tr.chosen { background: var(--shade); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.note { color: var(--quiet); }
.good { color: var(--good); }
.bad { color: var(--bad); font-weight: 600; }
code { font: 0.85rem/1.4 ui-monospace, monospace; }
dl { display: flex; flex-wrap: wrap; gap: 0.5rem 2rem; margin: 0; }
dt { color: var(--quiet); font-size: 0.85rem; }
dd { margin: 0; }
form { margin: 0.5rem 0; display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: center; }
input, button {
  font: inherit;
  padding: 0.35rem 0.6rem;
  border: 1px solid var(--quiet);
  border-radius: 0.25rem;
  background: var(--page);
  color: var(--text);
  max-width: 100%;
}
button { background: var(--shade); cursor: pointer; }
header form { margin: 0 0 0 auto; }
p, dd { overflow-wrap: anywhere; }
tbody th, code, time { white-space: nowrap; }
@media (prefers-reduced-motion: no-preference) {
  #live { transition: color 0.3s; }
}
@media (forced-colors: active) {
  .good, .bad, .note { color: CanvasText; }
}
`;

/**
 * The script: `GET /status.js`. It puts the parts that changed in the place of the old ones, and leaves the rest, the focus and
 * where tables are scrolled to as they are. Without it the page is the same, and stands still.
 */
export const SCRIPT = `"use strict";
(() => {
  const live = document.getElementById("live");
  const said = document.getElementById("said");
  const RETRY_MS = 10000;
  let source;

  const say = (text) => {
    if (live && live.textContent !== text) live.textContent = text;
  };

  // What has the focus, told by what it is: the element itself is about to go.
  const focused = (part) => {
    const element = document.activeElement;
    if (!element || !part.contains(element)) return undefined;
    const all = [...part.querySelectorAll(element.tagName)];
    return {
      tag: element.tagName,
      href: element.getAttribute("href"),
      index: all.indexOf(element),
      value: element.value,
      start: element.selectionStart,
      end: element.selectionEnd,
    };
  };

  const refocus = (part, was) => {
    const all = [...part.querySelectorAll(was.tag)];
    const element = all.find((one) => was.href !== null && one.getAttribute("href") === was.href) ?? all[was.index];
    if (!element) return document.getElementById("main")?.focus({ preventScroll: true });
    if (was.tag === "INPUT") element.value = was.value;
    element.focus({ preventScroll: true });
    if (was.tag === "INPUT") element.setSelectionRange(was.start, was.end);
  };

  const replace = (id, text) => {
    const old = document.getElementById(id);
    const part = new DOMParser().parseFromString(text, "text/html").getElementById(id);
    if (!old || !part) return;
    const was = focused(old);
    const scrolled = [...old.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    // What somebody types is theirs.
    const typed = old.querySelector("input");
    const input = part.querySelector("input");
    if (typed && input && typed.value !== typed.defaultValue) input.value = typed.value;
    old.replaceWith(part);
    part.querySelectorAll(".scroll").forEach((box, i) => box.scrollLeft = scrolled[i] ?? 0);
    if (was) refocus(part, was);
  };

  const open = () => {
    source = new EventSource(document.body.dataset.events);
    source.addEventListener("open", () => say("Live"));
    source.addEventListener("parts", (event) => {
      const { parts, summary } = JSON.parse(event.data);
      for (const [id, text] of Object.entries(parts)) replace(id, text);
      // Only what matters is read out, and only when it is another.
      if (said && said.textContent !== summary) said.textContent = summary;
      say("Live");
    });
    source.addEventListener("signedOut", () => {
      source.close();
      location.reload();
    });
    source.addEventListener("error", () => {
      say("Not live: connecting again");
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(open, RETRY_MS);
    });
  };

  if (document.body.dataset.events) open();
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted && document.body.dataset.events) open();
  });
})();
`;

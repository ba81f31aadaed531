/** The status page and its sign-in form as whole documents. Pure. @module */
import { time } from "./format.ts";
import { type Content, type Html, link, markup } from "./html.ts";
import { SECTIONS, sections, summary } from "./sections.ts";
import { type StatusData, statusParameters, type StatusQuery } from "./status_data.ts";

/** The page. */
export function statusPage(data: StatusData, query: StatusQuery): string {
  const parts = sections(data, query);
  const parameters = statusParameters(query);
  return document({
    title: query.mesh === undefined ? "Discovery" : `${query.mesh}: Discovery`,
    events: link("/events", parameters),
    body: markup`<header><h1>moray Discovery</h1>
<p>As of ${time(data.at)} UTC. <span id="live">Not live</span>. <a href="${
      link("/", parameters)
    }">Refresh</a></p>
<form method="post" action="/sign-out"><button>Sign out</button></form></header>
<p id="said" role="status" aria-live="polite">${summary(data, query)}</p>
<main id="main" tabindex="-1">
${
      SECTIONS.map((id) =>
        markup`${parts[id]}
`
      )
    }</main>`,
  });
}

/** The form that asks for the token. `fault` says why the last one was refused. */
export function signInPage(fault?: string): string {
  return document({
    title: "Sign in: Discovery",
    body: markup`<main id="main" tabindex="-1"><h1>moray Discovery</h1>
<p>The status of this server is for its operator.</p>
${fault === undefined ? undefined : markup`<p role="alert" class="bad" id="fault">${fault}</p>`}
<form method="post" action="/sign-in"><label for="token">Token</label>
<input id="token" name="token" type="password" required autofocus maxlength="256" autocomplete="current-password"${
      fault === undefined ? undefined : markup` aria-invalid="true" aria-describedby="fault"`
    }>
<button>Sign in</button></form></main>`,
  });
}

/** A page that says why there is none. */
export function faultPage(fault: string): string {
  return document({
    title: "Discovery",
    body: markup`<main id="main" tabindex="-1"><h1>moray Discovery</h1>
<p role="alert" class="bad">${fault}</p></main>`,
  });
}

function document(
  { title, body, events }: {
    readonly title: string;
    readonly body: Content;
    readonly events?: string;
  },
): string {
  const page: Html = markup`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/status.css">
${events === undefined ? undefined : markup`<script src="/status.js" defer></script>`}
</head>
<body${events === undefined ? undefined : markup` data-events="${events}"`}>
<a class="skip" href="#main">Skip to the content</a>
${body}
</body>
</html>
`;
  return page.text;
}

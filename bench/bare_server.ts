/**
 * `Deno.serve` with nothing behind it: reads each request and answers with as many bytes as a look-up takes; prints
 * `ready http=127.0.0.1:PORT`.
 *
 * @module
 */
const ANSWER = "x".repeat(900);
const HEADERS: [string, string][] = [
  ["content-type", "application/json"],
  ["cache-control", "no-transform"],
];

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) =>
    Deno.stderr.writeSync(new TextEncoder().encode(`ready http=127.0.0.1:${port}\n`)),
}, async (request) => {
  await request.bytes();
  return new Response(ANSWER, { headers: HEADERS });
});

import { equal as assertEqual, ok as assert, throws as assertThrows } from "node:assert/strict";
import {
  cookieOf,
  GUESS_WAIT_MS,
  GUESSERS_MAX,
  GUESSES_MAX,
  SESSION_MS,
  SignInDesk,
} from "./sign_in.ts";

const TOKEN = "correct-horse-battery";
const NOW = 1_700_000_000_000;
const SOURCE = "192.0.2.1";

Deno.test("SignInDesk takes no token that can be guessed, and does not repeat it", () => {
  for (
    const token of ["", "short", "fifteen-letters", "with a space in it", "ümlaut-ümlaut-ümlaut"]
  ) {
    assertThrows(() => new SignInDesk(token), (error) => {
      assert(error instanceof RangeError && (token === "" || !error.message.includes(token)));
      return true;
    });
  }
});

Deno.test("SignInDesk knows the token, and nothing that is nearly it", () => {
  const desk = new SignInDesk(TOKEN);
  assertEqual(desk.check(NOW, SOURCE, TOKEN), "right");
  for (const token of ["", TOKEN.slice(1), `${TOKEN} `, TOKEN.toUpperCase()]) {
    assertEqual(desk.check(NOW, token, token), "wrong");
  }
  assertEqual(desk.counters()["statusSignInsRefused"], 4);
});

Deno.test("SignInDesk has who guesses too often wait, with the right token too, and nobody else", () => {
  const desk = new SignInDesk(TOKEN);
  for (let i = 0; i < GUESSES_MAX; i++) assertEqual(desk.check(NOW + i, SOURCE, "x"), "wrong");
  const lastAt = NOW + GUESSES_MAX - 1;
  assertEqual(desk.check(lastAt, SOURCE, TOKEN), "wait");
  assertEqual(desk.check(lastAt, "192.0.2.2", TOKEN), "right");
  assertEqual(desk.check(lastAt + GUESS_WAIT_MS - 1, SOURCE, TOKEN), "wait");
  assertEqual(desk.counters()["statusSignInsLimited"], 2);
  assertEqual(desk.check(lastAt + GUESS_WAIT_MS, SOURCE, TOKEN), "right");
  assertEqual(desk.check(lastAt + GUESS_WAIT_MS, SOURCE, "x"), "wrong");
});

Deno.test("SignInDesk forgets the guesser of longest ago beyond its limit", () => {
  const desk = new SignInDesk(TOKEN);
  for (let i = 0; i <= GUESSERS_MAX; i++) desk.check(NOW, `source ${i}`, "x");
  assertEqual(desk.counters()["statusGuessersForgotten"], 1);
});

Deno.test("SignInDesk's session is good until its end, under its token only", () => {
  const desk = new SignInDesk(TOKEN);
  const session = desk.session(NOW);
  assertEqual(desk.sessionEnd(NOW, session), NOW + SESSION_MS);
  assertEqual(new SignInDesk(TOKEN).sessionEnd(NOW, session), NOW + SESSION_MS);
  assertEqual(desk.sessionEnd(NOW + SESSION_MS, session), undefined);
  assertEqual(new SignInDesk(`${TOKEN}2`).sessionEnd(NOW, session), undefined);
  assert(!session.includes(TOKEN));
  const [expiresAt, mac = ""] = session.split(".");
  const turned = mac.startsWith("A") ? `B${mac.slice(1)}` : `A${mac.slice(1)}`;
  const forged = [
    "",
    ".",
    `${expiresAt}.`,
    `${Number(expiresAt) + 1}.${mac}`,
    `${expiresAt}.${turned}`,
    `${expiresAt}.${mac}A`,
    `${expiresAt}.${mac}.${mac}`,
    `-1.${mac}`,
  ];
  for (const one of forged) assertEqual(desk.sessionEnd(NOW, one), undefined, one);
  // Made by a clock that was wrong, or by nobody of ours.
  assertEqual(desk.sessionEnd(NOW - 1, session), undefined);
});

Deno.test("cookieOf finds a cookie among others", () => {
  assertEqual(cookieOf("a=1; moray_status=x.y; b=2", "moray_status"), "x.y");
  assertEqual(
    cookieOf("moray_status_=1;xmoray_status=2;=3;moray_status", "moray_status"),
    undefined,
  );
  assertEqual(cookieOf(null, "moray_status"), undefined);
});

import { deepStrictEqual as assertEquals, rejects } from "node:assert/strict";
import { proxyCredentials } from "./proxy_credentials.ts";

const socks5 = { hostname: "127.0.0.1", port: 1080 };

Deno.test("the password is the first line of its file", async () => {
  const path = await Deno.makeTempFile();
  const settings = { socks5, socks5User: "diver", socks5PasswordFile: path };
  try {
    for (
      const [text, password] of [["reef \u00e9", "reef \u00e9"], ["a b\r\nrest\n", "a b"]] as const
    ) {
      await Deno.writeTextFile(path, text);
      assertEquals(await proxyCredentials(settings), { username: "diver", password });
    }
    for (const text of ["", "\nsecond", "x".repeat(256)]) {
      await Deno.writeTextFile(path, text);
      await rejects(proxyCredentials(settings), {
        code: "config",
        message: `Cannot use ${path}: its first line is not a password of 1 to 255 bytes`,
      });
    }
  } finally {
    await Deno.remove(path);
  }
  await rejects(proxyCredentials(settings), { code: "config" });
});

Deno.test("a user, a password and a proxy need each other", async () => {
  const [socks5User, socks5PasswordFile] = ["diver", "/nowhere"];
  assertEquals(
    await proxyCredentials({ socks5, socks5User: undefined, socks5PasswordFile: undefined }),
    undefined,
  );
  const both = { message: "--socks5-user NAME and --socks5-password-file FILE need each other" };
  await rejects(proxyCredentials({ socks5, socks5User, socks5PasswordFile: undefined }), both);
  await rejects(proxyCredentials({ socks5, socks5User: undefined, socks5PasswordFile }), both);
  await rejects(proxyCredentials({ socks5: undefined, socks5User, socks5PasswordFile }), {
    code: "usage",
    message: "--socks5-user is of no use without --socks5 H:P",
  });
});

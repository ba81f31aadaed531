/** Who may use the SOCKS5 proxy, from the flags that say so. @module */
import type { ProxyCredentials } from "../agent/mod.ts";
import { MorayError } from "../core/mod.ts";
import type { ACCESS } from "./access_parameters.ts";
import { readNamedFile } from "./context.ts";
import type { Settings } from "./parameter.ts";

/** As long as RFC 1929 has room for. */
const PASSWORD_BYTES_MAX = 255;

/**
 * The user of `--socks5-user` with the password that is the first line of `--socks5-password-file`; `undefined` where none is
 * wanted. Rejects with `usage` where one flag lacks another, `config` for a file that is no password, or as reading it does.
 */
export async function proxyCredentials(
  { socks5, socks5User, socks5PasswordFile }: Pick<
    Settings<typeof ACCESS>,
    "socks5" | "socks5User" | "socks5PasswordFile"
  >,
): Promise<ProxyCredentials | undefined> {
  if (socks5User === undefined && socks5PasswordFile === undefined) return undefined;
  if (socks5User === undefined || socks5PasswordFile === undefined) {
    throw new MorayError(
      "usage",
      "--socks5-user NAME and --socks5-password-file FILE need each other",
    );
  }
  if (socks5 === undefined) {
    throw new MorayError("usage", "--socks5-user is of no use without --socks5 H:P");
  }
  const text = await readNamedFile(socks5PasswordFile);
  const password = text.split("\n", 1)[0]?.replace(/\r$/, "") ?? "";
  const { length } = new TextEncoder().encode(password);
  if (length >= 1 && length <= PASSWORD_BYTES_MAX) return { username: socks5User, password };
  throw new MorayError(
    "config",
    `Cannot use ${socks5PasswordFile}: its first line is not a password of 1 to 255 bytes`,
  );
}

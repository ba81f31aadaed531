/** The certificate and key of a TLS listener. @module */
import { MorayError } from "../core/mod.ts";
import { readTextFile } from "../io/mod.ts";

/** Certificate chain and private key as PEM. */
export interface TlsPem {
  /** The chain, the server's own certificate first. */
  readonly cert: string;
  /** Its private key. A secret. */
  readonly key: string;
}

/** Reads both files. Rejects with `config` where one is not what it should be, else as the system says. */
export async function readTlsFiles(certFile: string, keyFile: string): Promise<TlsPem> {
  const cert = await readTextFile(certFile);
  if (!cert.includes("-----BEGIN CERTIFICATE-----")) {
    throw new MorayError("config", `Cannot use ${certFile}: it holds no certificate (PEM)`);
  }
  const key = await readTextFile(keyFile);
  if (!/-----BEGIN (?:RSA |EC )?PRIVATE KEY-----/.test(key)) {
    throw new MorayError("config", `Cannot use ${keyFile}: it holds no private key (PEM)`);
  }
  return { cert, key };
}

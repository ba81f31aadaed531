/** WireGuard keys for tests, as `wg genkey` and `wg pubkey` make them. @module */
import { formatBase64 } from "../../core/mod.ts";

/** A key pair in the text form. */
export interface KeyPair {
  /** Private key, base64. */
  readonly privateKey: string;
  /** Public key, base64. */
  readonly publicKey: string;
}

/** Makes a key pair. */
export async function keyPair(): Promise<KeyPair> {
  const pair = await crypto.subtle.generateKey("X25519", true, ["deriveBits"]) as CryptoKeyPair;
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
  const raw = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  // The key is the last 32 bytes of the PKCS #8 form (RFC 8410).
  return { privateKey: formatBase64(pkcs8.slice(-32)), publicKey: formatBase64(raw) };
}

/** Makes a preshared key. */
export function presharedKey(): string {
  return formatBase64(crypto.getRandomValues(new Uint8Array(32)));
}

/** Every text form in which a private key could turn up in a log: base64 with and without padding, and hexadecimal. */
export function secretForms(key: string): string[] {
  const bytes = Uint8Array.from(atob(key), (c) => c.charCodeAt(0));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const url = key.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  return [key.replace(/=+$/, ""), url, hex, hex.toUpperCase(), Array.from(bytes).join(",")];
}

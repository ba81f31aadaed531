/** STUN by hand, independent of the codec under test. @module */

const MAGIC_COOKIE = 0x2112a442;

/** A Binding request without attributes. */
export function bindingRequest(transactionId: Uint8Array): Uint8Array {
  const message = new Uint8Array(20);
  const view = new DataView(message.buffer);
  view.setUint16(0, 0x0001);
  view.setUint32(4, MAGIC_COOKIE);
  message.set(transactionId, 8);
  return message;
}

/** Address and port in the XOR-MAPPED-ADDRESS of a Binding success response; throws for anything else. */
export function mappedAddress(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint16(0) !== 0x0101) throw new Error("not a Binding success response");
  if (view.getUint16(2) !== bytes.length - 20) throw new Error("wrong length");
  for (let at = 20; at < bytes.length;) {
    const type = view.getUint16(at);
    const length = view.getUint16(at + 2);
    if (type === 0x0020) {
      const port = view.getUint16(at + 6) ^ (MAGIC_COOKIE >>> 16);
      const xor = bytes.slice(4, 20);
      const ip = bytes.slice(at + 8, at + 4 + length).map((byte, i) => byte ^ (xor[i] ?? 0));
      return `${ip.length === 4 ? ip.join(".") : "ipv6"}:${port}`;
    }
    at += 4 + length + (4 - length % 4) % 4;
  }
  throw new Error("no XOR-MAPPED-ADDRESS");
}

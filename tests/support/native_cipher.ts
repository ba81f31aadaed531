/** Whether the native cipher can be had here. @module */
import { fileURLToPath } from "node:url";
import { messageOf } from "../../core/mod.ts";
import { NativeAead, type NativeAeadForm } from "../../io/mod.ts";
import { AEAD_DIGEST } from "../../wg/mod.ts";

/** Its file. */
export const NATIVE_PATH = fileURLToPath(new URL("../../wg/aead-x86_64.so", import.meta.url));

/** Loads it. */
export function loadNative(form?: NativeAeadForm): Promise<NativeAead> {
  const options = { known: AEAD_DIGEST, ...(form && { form }) };
  return NativeAead.load({ path: NATIVE_PATH }, options);
}

/** Why it cannot be had; `undefined` if it can. */
export async function nativeReason(form?: NativeAeadForm): Promise<string | undefined> {
  try {
    using _aead = await loadNative(form);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

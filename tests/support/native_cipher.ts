/** Whether the native cipher can be had here. @module */
import { fileURLToPath } from "node:url";
import { messageOf } from "../../core/mod.ts";
import { NativeAead } from "../../io/mod.ts";

/** Its file. */
export const NATIVE_PATH = fileURLToPath(new URL("../../wg/aead-x86_64.so", import.meta.url));

/** Why it cannot be had; `undefined` if it can. */
export const nativeReason = ((): string | undefined => {
  try {
    using _aead = NativeAead.load({ path: NATIVE_PATH });
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
})();

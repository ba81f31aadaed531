/** The wall clock of every world. @module */

/** What it says when a world begins: 2026-01-01. */
export const EPOCH_MS = 1_767_225_600_000;

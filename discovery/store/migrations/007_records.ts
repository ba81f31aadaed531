/** Migration 007: the records that nodes sign. @module */

/** `statement` is a SignedStatement in base64, empty for none; `sequence` is the record's in it, 0 for none. */
export const SQL = `
ALTER TABLE nodes ADD COLUMN statement TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
`;

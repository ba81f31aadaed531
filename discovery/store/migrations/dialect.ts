/** The text of a migration for PostgreSQL, made of the one for SQLite: both databases have the same tables. @module */

/** What SQLite's word is in PostgreSQL. Text is compared by bytes, as SQLite does, whatever the database's language. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/\bINTEGER\b/g, "BIGINT"],
  [/\bTEXT\b/g, 'TEXT COLLATE "C"'],
  [/\bBLOB\b/g, "BYTEA"],
  [/\) STRICT;/g, ");"],
];

/** A migration's statements for PostgreSQL. */
export function postgresSql(sql: string): string {
  return WORDS.reduce((text, [word, theirs]) => text.replaceAll(word, theirs), sql);
}

/** The tables that statements create. */
export function tablesOf(sql: string): string[] {
  return [...sql.matchAll(/^CREATE TABLE (\w+) \(/gm)].map(([, name = ""]) => name);
}

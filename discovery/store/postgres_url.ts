/** Where a PostgreSQL database is, and how it is called where others may read. @module */

/** The URL of a PostgreSQL database. */
export interface PostgresUrl {
  /** All of it, with the password: for the driver only. */
  readonly secret: string;
  /** Host, port and name of the database, for messages and logs. */
  readonly shown: string;
}

/** Whether a text is meant to name a PostgreSQL database. */
export function isPostgresUrl(text: string): boolean {
  return /^postgres(ql)?:/i.test(text);
}

/** Reads `postgres://USER:PASSWORD@HOST[:PORT]/DATABASE[?sslmode=...]`; `undefined` for anything else. */
export function parsePostgresUrl(text: string): PostgresUrl | undefined {
  if (!/^postgres(ql)?:\/\//i.test(text)) return undefined;
  const url = URL.parse(text);
  if (url === null || url.hostname === "" || !/^\/[^/]+$/.test(url.pathname)) return undefined;
  const port = url.port === "" ? "" : `:${url.port}`;
  return { secret: text, shown: `postgres://${url.hostname}${port}${url.pathname}` };
}

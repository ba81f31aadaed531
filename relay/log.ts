/** Where the relay writes its log. @module */

/** One line of the log. Levels as in most loggers; `fields` hold no secrets, and no addresses above `debug`. */
export type Log = (
  level: "debug" | "info" | "warn" | "error",
  message: string,
  fields?: Readonly<Record<string, string | number | boolean | null>>,
) => void;

/**
 * A PostgreSQL database that replicas share.
 *
 * ```text
 *   pool of connections   single statements, many of them under way on each
 *   another pool          BEGIN, steps, NOTIFY, COMMIT: what a transaction tells is told with it, in the order of the commits
 *   one more connection   LISTEN: everything that replicas tell, our own too
 * ```
 *
 * @module
 */
import postgres, { type ParameterOrJSON, type Sql, type TransactionSql } from "postgres";
import { assert, messageOf, MorayError } from "../../core/mod.ts";
import type { Log } from "../log.ts";
import { isConflict, postgresError } from "./postgres_error.ts";
import { migratePostgres } from "./postgres_schema.ts";
import type { PostgresUrl } from "./postgres_url.ts";
import { decodeMessage, encodeMessage, type ReplicaMessage } from "./replica_message.ts";
import type {
  CountedTable,
  Database,
  Query,
  Row,
  Steps,
  Transaction,
  WriteOptions,
} from "./sql.ts";
import { SAID_BYTES_MAX, type StoreEvent } from "./store.ts";

/**
 * Connections for single statements, and as many for transactions; one more listens. The driver (3.4.9) does not keep a connection for a
 * transaction whose BEGIN it writes while that connection's statements are backed up: what others ask then stands in it too.
 */
const CONNECTIONS_MAX = 4;
/** How long a connection may take, in seconds. */
const CONNECT_SECONDS = 5;
/** Wait before a connection that failed is tried again, in seconds. */
const RECONNECT_SECONDS = 0.5;
/** How long the server works at one statement, and waits for a lock. */
const STATEMENT_MS_MAX = 5000;
/** How long steps may take in all, waiting for a connection too. */
const WORK_MS_MAX = 8000;
/** Statements and transactions that wait or run at once. Further ones are refused: the database does not keep up. */
const WORK_MAX = 4096;
/** How often a transaction that met another one is run. */
const ATTEMPTS_MAX = 5;
/** How often a replica shows itself that it hears, and compares clocks. */
const PULSE_MS = 3000;
/** Silence after which the connections are given up for new ones. */
const SILENCE_MS = 4 * PULSE_MS;
/** Difference of clocks that is worth a line in the log. */
const CLOCK_AHEAD_MS_MAX = 5000;

/** What may be told in one transaction goes in one statement. */
const NOTIFY = "SELECT pg_notify($1, value) FROM json_array_elements_text($2::text::json)";

/** Options of {@linkcode PostgresDatabase.open}. */
export interface PostgresOptions {
  /** Where the log goes. */
  readonly log: Log;
  /** How often it shows itself that it hears, in milliseconds, for tests. @default 3000 */
  readonly pulseMs?: number;
}

/** A connected database. */
export class PostgresDatabase implements Database {
  readonly shared = true;
  readonly #url: PostgresUrl;
  readonly #log: Log;
  readonly #replica = crypto.randomUUID();
  readonly #pulseMs: number;
  #channel = "";
  #pool: Sql;
  #transactions: Sql;
  #ears: Sql | undefined;
  #listener: ((event: StoreEvent) => void) | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #clockAheadMs = 0;
  #pulses = 0;
  #heardAt = performance.now();
  #working = 0;
  #closing: Promise<void> | undefined;
  /** By when connections that failed are tried again: the driver's timers for that outlive its end. */
  #retriesBy = 0;

  private constructor(url: PostgresUrl, { log, pulseMs = PULSE_MS }: PostgresOptions) {
    this.#url = url;
    this.#log = log;
    this.#pulseMs = pulseMs;
    this.#pool = this.#connect(CONNECTIONS_MAX);
    this.#transactions = this.#connect(CONNECTIONS_MAX);
  }

  /**
   * Connects, and brings the database to the present schema. Rejects with `MorayError`: `unreachable`, `permission`, `usage` (no
   * such database), or `corrupt` (damaged, foreign or newer: it was not written to).
   */
  static async open(url: PostgresUrl, options: PostgresOptions): Promise<PostgresDatabase> {
    const database = new PostgresDatabase(url, options);
    try {
      await database.#begin();
      return database;
    } catch (error) {
      await database.close();
      throw postgresError(error, url.shown);
    }
  }

  get clockAheadMs(): number {
    return this.#clockAheadMs;
  }

  run<T>(steps: () => Steps<T>): Promise<T> {
    return this.#work(() => drive(this.#pool, steps()));
  }

  put<T>(steps: () => Steps<T>): Promise<T> {
    return this.run(steps);
  }

  async write<T>(
    steps: (transaction: Transaction) => Steps<T>,
    { counted }: WriteOptions,
  ): Promise<T> {
    const { result, counts } = await this.#work(async () => {
      for (let attempt = 1;; attempt++) {
        try {
          return await this.#transact(steps);
        } catch (error) {
          if (attempt >= ATTEMPTS_MAX || !isConflict(error)) throw error;
        }
      }
    });
    for (const { table, rows } of counts) counted(table, rows);
    return result;
  }

  listen(listener: (event: StoreEvent) => void): void {
    assert(this.#listener === undefined, "a store has one listener");
    this.#listener = listener;
  }

  async say(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text).length;
    assert(bytes <= SAID_BYTES_MAX, `${bytes} bytes are too many to say`);
    await this.#work(() => this.#notify(this.#pool, [{ kind: "said", text }]));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    const retryMs = this.#retriesBy - performance.now();
    if (retryMs > 0) await new Promise((wake) => setTimeout(wake, retryMs + 20));
    // What runs gets a second, as a stop must be over in two. The connection that listens lies inside of `ears`, which ends it with a
    // timer of 0 ms of its own: with a longer one around it, none is left behind.
    const pools = [this.#pool, this.#transactions];
    await Promise.all([
      ...pools.map((pool) => pool.end({ timeout: 1 })),
      this.#ears?.end({ timeout: 0.1 }),
    ]);
  }

  #connect(max: number): Sql {
    return postgres(this.#url.secret, {
      max,
      connect_timeout: CONNECT_SECONDS,
      idle_timeout: 0,
      max_lifetime: null,
      backoff: () => {
        this.#retriesBy = performance.now() + RECONNECT_SECONDS * 1000;
        return RECONNECT_SECONDS;
      },
      fetch_types: false,
      onnotice: () => {},
      connection: {
        application_name: "moray discovery",
        statement_timeout: STATEMENT_MS_MAX,
        // As SQLite's synchronous = NORMAL: a crash of the database's machine may lose the last moment, one of ours nothing.
        synchronous_commit: "off",
      },
    });
  }

  async #begin(): Promise<void> {
    await migratePostgres(this.#transactions, this.#url.shown);
    // Others may share the database in a schema of their own.
    const [row] = await this.#pool.unsafe("SELECT current_schema()::regnamespace::oid AS id");
    this.#channel = `moray_${row?.["id"]}`;
    await this.#openEars();
    await this.#pulse();
    this.#timer = setInterval(() => void this.#watchPulse(), this.#pulseMs);
  }

  /** Begins to listen, over a connection of its own. */
  async #openEars(): Promise<void> {
    const ears = this.#connect(1);
    this.#ears = ears;
    let connected = false;
    await ears.listen(this.#channel, (text) => this.#hear(text), () => {
      // The driver connects again by itself.
      if (connected) this.#tell({ kind: "gap" });
      connected = true;
    });
  }

  #hear(text: string): void {
    const message = decodeMessage(text);
    if (message === undefined) return;
    if (message.kind !== "pulse") this.#tell(message);
    else if (message.replica === this.#replica) this.#heardAt = performance.now();
  }

  #tell(event: StoreEvent): void {
    if (this.#closing === undefined) this.#listener?.(event);
  }

  /** Shows ourselves that we hear, and compares clocks. */
  async #pulse(): Promise<void> {
    const message = { kind: "pulse", replica: this.#replica, count: ++this.#pulses } as const;
    const askedAt = Date.now();
    const [row] = await this.#pool.unsafe(
      "SELECT pg_notify($1, $2), extract(epoch FROM clock_timestamp()) * 1000 AS now",
      [this.#channel, encodeMessage(message)],
      { prepare: true },
    );
    const answeredAt = Date.now();
    const ahead = Math.round(Number(row?.["now"]) - (askedAt + answeredAt) / 2);
    // What the way there and back hides is no difference.
    const change = Math.abs(ahead - this.#clockAheadMs);
    if (change <= answeredAt - askedAt) return;
    this.#clockAheadMs = ahead;
    if (Math.abs(ahead) > CLOCK_AHEAD_MS_MAX && change > CLOCK_AHEAD_MS_MAX) {
      this.#log("warn", `the database's clock is ${Math.round(ahead / 1000)} s ahead of ours`);
    }
  }

  async #watchPulse(): Promise<void> {
    try {
      if (performance.now() - this.#heardAt > this.#pulseMs * (SILENCE_MS / PULSE_MS)) {
        await this.#reconnect();
      }
      await this.#work(() => this.#pulse());
    } catch (error) {
      this.#log("debug", messageOf(error));
    }
  }

  /** Gives up connections over which nothing is heard: the network may swallow what is sent on them. */
  async #reconnect(): Promise<void> {
    if (this.#closing !== undefined) return;
    this.#log("warn", `the database ${this.#url.shown} is silent: connecting anew`);
    this.#heardAt = performance.now();
    const [pool, transactions, ears] = [this.#pool, this.#transactions, this.#ears];
    this.#pool = this.#connect(CONNECTIONS_MAX);
    this.#transactions = this.#connect(CONNECTIONS_MAX);
    void pool.end({ timeout: 0 });
    void transactions.end({ timeout: 0 });
    void ears?.end({ timeout: 0 });
    await this.#openEars();
    this.#tell({ kind: "gap" });
  }

  async #transact<T>(steps: (transaction: Transaction) => Steps<T>): Promise<Outcome<T>> {
    const events: ReplicaMessage[] = [];
    const counts: { readonly table: CountedTable; readonly rows: number }[] = [];
    const result = await this.#transactions.begin(async (sql) => {
      const result = await drive(
        sql,
        steps({
          tell: (event) => {
            if (event.kind !== "gap") events.push(event);
          },
          count: (table, rows) => counts.push({ table, rows }),
        }),
      );
      if (events.length > 0) await this.#notify(sql, events);
      return { result };
    });
    return { result: (result as { readonly result: T }).result, counts };
  }

  async #notify(sql: Sql | TransactionSql, messages: readonly ReplicaMessage[]): Promise<void> {
    const texts = JSON.stringify(messages.map(encodeMessage));
    await sql.unsafe(NOTIFY, [this.#channel, texts], { prepare: true });
  }

  /** Runs work within its time and names what goes wrong. */
  async #work<T>(body: () => Promise<T>): Promise<T> {
    const { shown } = this.#url;
    if (this.#closing !== undefined) {
      throw new MorayError("closed", `The database ${shown} is closed`);
    }
    if (this.#working >= WORK_MAX) {
      throw new MorayError("unreachable", `The database ${shown} does not keep up`);
    }
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      reject(new MorayError("unreachable", `The database ${shown} does not answer`));
    }, WORK_MS_MAX);
    this.#working++;
    const work = body();
    try {
      return await Promise.race([work, promise]);
    } catch (error) {
      work.catch(() => {});
      throw postgresError(error, shown);
    } finally {
      clearTimeout(timer);
      this.#working--;
    }
  }
}

/** What a transaction gives, and what it counted. */
interface Outcome<T> {
  readonly result: T;
  readonly counts: readonly { readonly table: CountedTable; readonly rows: number }[];
}

async function drive<T>(sql: Sql | TransactionSql, steps: Steps<T>): Promise<T> {
  let step = steps.next([]);
  while (step.done !== true) {
    step = steps.next(await Promise.all(step.value.map((query) => execute(sql, query))));
  }
  return step.value;
}

async function execute(sql: Sql | TransactionSql, query: Query): Promise<readonly Row[]> {
  const { text, values } = "lock" in query
    ? { text: "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", values: [query.lock] }
    : { text: numbered(query.sql), values: query.values };
  // Sent at once: all statements of a step are on their way together.
  return await sql.unsafe(text, values as ParameterOrJSON<never>[], { prepare: true });
}

/** Statements with `$1`, `$2` for each `?`, by their text; as many as the program has. */
const NUMBERED = new Map<string, string>();

function numbered(sql: string): string {
  let text = NUMBERED.get(sql);
  if (text === undefined) {
    let count = 0;
    text = sql.replaceAll("?", () => `$${++count}`);
    NUMBERED.set(sql, text);
  }
  return text;
}

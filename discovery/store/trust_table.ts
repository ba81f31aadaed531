/** The tables behind proofs: whose a mesh id is, what was used already, and the server's secrets. @module */
import { type Query, query, type Row, rowsOf, type Steps, type Transaction } from "./sql.ts";
import type { Spending } from "./spend_batch.ts";
import { type NameRange, type SpendOutcome, SPENT_MAX } from "./store.ts";

const SQL = {
  binding: "SELECT pubkey FROM meshes WHERE mesh_id = ?",
  bind: `INSERT INTO meshes (mesh_id, pubkey, bound_at, used_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (mesh_id) DO NOTHING`,
  spend: `INSERT INTO spent (id, expires_at) VALUES (?, ?)
    ON CONFLICT (id) DO NOTHING RETURNING id`,
  sweep: `DELETE FROM spent WHERE id IN
    (SELECT id FROM spent WHERE expires_at <= ? ORDER BY expires_at LIMIT ?) RETURNING id`,
  offer: "INSERT INTO secrets (name, secret) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
  secret: "SELECT secret FROM secrets WHERE name = ?",
  forget: "DELETE FROM secrets WHERE name >= ? AND name < ? RETURNING name",
} as const;

/** Uses up so many ids. */
function spendSql(count: number): string {
  const rows = new Array(count).fill("(?, ?)").join(", ");
  return `INSERT INTO spent (id, expires_at) VALUES ${rows} ON CONFLICT (id) DO NOTHING RETURNING id`;
}

/** Asks for the binding of a mesh id, among other questions; {@linkcode keyOf} reads the answer. */
export function bindingOf(meshId: string): Query {
  return query(SQL.binding, meshId);
}

/** The key that a mesh id is bound to; `undefined` for none. */
export function keyOf([row]: readonly Row[]): string | undefined {
  return row && String(row["pubkey"]);
}

/** Binds a mesh id that is bound to none. */
export function* bind(
  { meshId, publicKey }: { readonly meshId: string; readonly publicKey: string },
  { now, transaction }: { readonly now: number; readonly transaction: Transaction },
): Steps<void> {
  yield [query(SQL.bind, meshId, publicKey, now, now)];
  transaction.count("meshes", 1);
}

/** What was used once. `rows` says how many there are, `counted` is told of more. */
export class SpentTable {
  readonly #rows: () => number;
  readonly #max: number;

  /** A table of at most `max`. */
  constructor(rows: () => number, max = SPENT_MAX) {
    this.#rows = rows;
    this.#max = max;
  }

  /** Uses an id up, with one statement. */
  *spend(id: string, expiresAt: number): Steps<SpendOutcome> {
    if (this.#rows() >= this.#max) return "full";
    return (yield* rowsOf(SQL.spend, id, expiresAt)).length > 0 ? "spent" : "reused";
  }

  /** Uses ids up with one statement. Of two that are the same one is used. */
  *spendAll(batch: readonly Spending[]): Steps<SpendOutcome[]> {
    const room = Math.max(0, this.#max - this.#rows());
    const taken = batch.slice(0, room);
    if (taken.length === 0) return batch.map(() => "full");
    const values = taken.flatMap(({ id, expiresAt }) => [id, expiresAt]);
    const fresh = new Set(
      (yield* rowsOf(spendSql(taken.length), ...values)).map((row) => row["id"]),
    );
    // Whoever came first has it.
    return batch.map(({ id }, i) => i >= room ? "full" : fresh.delete(id) ? "spent" : "reused");
  }

  /** Removes what has expired. Returns how many. */
  *sweep(now: number, max: number, transaction: Transaction): Steps<number> {
    const { length } = yield* rowsOf(SQL.sweep, now, max);
    transaction.count("spent", -length);
    return length;
  }
}

/** The secret of a name: the first that was ever offered. */
export function* secretOf(name: string, fresh: Uint8Array<ArrayBuffer>): Steps<Uint8Array> {
  const [, rows = []] = yield [query(SQL.offer, name, fresh), query(SQL.secret, name)];
  const secret = rows[0]?.["secret"];
  if (!(secret instanceof Uint8Array)) throw new TypeError(`The secret ${name} is none`);
  return Uint8Array.from(secret);
}

/** Removes the secrets of a range of names. Returns how many. */
export function* forgetSecrets({ from, before }: NameRange): Steps<number> {
  return (yield* rowsOf(SQL.forget, from, before)).length;
}

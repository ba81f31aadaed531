/**
 * A node goes on with another key: what of it is in the state directory, and the steps of the change.
 *
 * ```text
 *   moray rotate    wireguard.key.next is made
 *   next start      rotations.json: "next follows key", signed by the key
 *                   Discovery: RotateKey                    the mesh is the next key's
 *                   wireguard.key.next --rename--> wireguard.key
 * ```
 *
 * Whatever ends the process between two steps, the next start goes on with the first that was not done: each may be done again. Where
 * Discovery does not answer, or does not have rotations, the node runs with its old key, and the next start tries again.
 *
 * @module
 */
import { formatBase64, messageOf, MorayError, parseBase64 } from "../core/mod.ts";
import {
  DiscoveryClient,
  type Identity,
  openRotation,
  type Rotation,
  type Signed,
  signRotation,
} from "../discovery/mod.ts";
import { createPrivateFile, fromSystem, readTextFile, writePrivateFile } from "../io/mod.ts";
import {
  generatePrivateKey,
  KEY_FILE,
  type KeyPair,
  loadKey,
  loadOrCreateKey,
} from "./key_file.ts";
import { connectStream } from "./local_socket.ts";
import type { Log } from "./options.ts";

/** The next key in a state directory, as {@linkcode KEY_FILE}. */
export const NEXT_KEY_FILE = `${KEY_FILE}.next`;
/** The rotations in a state directory by which the node came to its key: JSON, no secret. */
export const ROTATIONS_FILE = "rotations.json";
/** Rotations kept: as many as a record has. */
const ROTATIONS_KEPT = 8;
const FILE_BYTES_MAX = 64 * 1024;
/** How long the start of a node may be held up by a Discovery that does not answer. */
const ROTATE_MS = 5000;

/** A rotation that is prepared. */
export interface PreparedRotation {
  /** The present key, base64. */
  readonly oldKey: string;
  /** The one that the node's next start goes on with, base64. */
  readonly newKey: string;
}

/** Makes the next key of a state directory that has one. Rejects with `key`, and `refused` where there is a next key already. */
export async function prepareRotation(state: string): Promise<PreparedRotation> {
  const present = await loadKey(pathOf(state, KEY_FILE));
  if (present === undefined) {
    throw new MorayError("key", `${state} holds no key yet: start a node with it first`);
  }
  const path = pathOf(state, NEXT_KEY_FILE);
  if (!await createPrivateFile(path, `${formatBase64(generatePrivateKey())}\n`)) {
    throw new MorayError(
      "refused",
      `The next key is made already (${path}): restart the node, which goes on with it`,
    );
  }
  const next = await loadKey(path);
  if (next === undefined) throw new MorayError("key", `Cannot read ${path}: it comes and goes`);
  return { oldKey: formatBase64(present.publicKey), newKey: formatBase64(next.publicKey) };
}

/** What a node starts with. */
export interface NodeKeys extends KeyPair {
  /** How it came to its key, for its record: the oldest first. */
  readonly rotations: readonly Signed[];
}

/** Options of {@linkcode loadKeys}. */
export interface LoadKeysOptions {
  /** State directory. */
  readonly state: string;
  /** Mesh id. */
  readonly mesh: string;
  /** Discovery base URLs. */
  readonly discovery: readonly string[];
  /** Makes the object that proves and signs with a key. */
  readonly identityOf: (keys: KeyPair) => Promise<Identity>;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Where the log goes. */
  readonly log: Log;
}

/**
 * Returns the key of a state directory, which is made where there is none; where a next one is prepared, that one, as soon as Discovery
 * has taken it. Rejects with `key`, and with `refused` where Discovery knows that the key was given up for another.
 */
export async function loadKeys(options: LoadKeysOptions): Promise<NodeKeys> {
  const { state, mesh, log } = options;
  const keys = await loadOrCreateKey(state);
  const chain = await readRotations(options);
  const next = await loadKey(pathOf(state, NEXT_KEY_FILE));
  // A node that runs with this directory must not lose its key under its feet; a second one does not start anyway.
  if (next === undefined || await isInUse(state)) {
    return { ...keys, rotations: await leadingTo(keys, chain) };
  }
  const rotations = await prepared({ ...options, keys, next, chain });
  const [last] = rotations.slice(-1);
  const taken = last !== undefined && await isTaken({ ...options, next, rotation: last });
  if (!taken) return { ...keys, rotations: await leadingTo(keys, rotations) };
  await replaceKey(state);
  log("info", `mesh ${mesh} knows this node by its next key`, {
    publicKey: formatBase64(next.publicKey),
  });
  return { ...next, rotations: await leadingTo(next, rotations) };
}

/** The rotations up to the next key, on the disk before anybody sees the last of them. */
async function prepared(
  { keys, next, chain, state, mesh, identityOf, now }: LoadKeysOptions & {
    readonly keys: KeyPair;
    readonly next: KeyPair;
    readonly chain: readonly Signed[];
  },
): Promise<readonly Signed[]> {
  const [oldKey, newKey] = [keys, next].map(({ publicKey }) => formatBase64(publicKey)) as [
    string,
    string,
  ];
  const last = await lastOf(chain);
  if (last?.oldKey === oldKey && last.newKey === newKey) return chain;
  const sequence = Math.max(Math.floor(now()), (last?.sequence ?? 0) + 1);
  const { signer } = await identityOf(keys);
  const signed = await signRotation(signer, { meshId: mesh, oldKey, newKey, sequence });
  // One that led elsewhere was never taken: its key is still the present one.
  const before = await leadingTo(keys, chain);
  const rotations = [...before, signed].slice(-ROTATIONS_KEPT);
  await writePrivateFile(pathOf(state, ROTATIONS_FILE), formatRotations(mesh, rotations));
  return rotations;
}

/** Asks Discovery to take the next key. Returns whether the node goes on with it. */
async function isTaken(
  { discovery: urls, state, next, rotation, identityOf, now, log }: LoadKeysOptions & {
    readonly next: KeyPair;
    readonly rotation: Signed;
  },
): Promise<boolean> {
  const client = new DiscoveryClient({ urls, identity: await identityOf(next), now, log });
  const signal = AbortSignal.timeout(ROTATE_MS);
  const answer = await client.rotateKey(rotation, { signal }).catch((error) => {
    log("warn", `the node keeps its key for now: ${messageOf(error)}`);
    return undefined;
  }).finally(() => client.close());
  switch (answer) {
    case undefined:
      return false;
    case "rotated":
    // Nobody there knows the old key: there is nothing to move, and those who know it follow the node's record.
    case "unknown":
      return true;
    case "unsupported":
    case "taken": {
      const reason = answer === "taken" ? "the next one is known already" : "it has no rotations";
      log("warn", `the node keeps its key: Discovery does not take the next one: ${reason}`);
      return false;
    }
    case "retired":
      throw new MorayError(
        "refused",
        `The key in ${state} was given up for another one: restore that, or remove the state directory to become a new node`,
      );
  }
}

/** Whether a node runs with a state directory. */
async function isInUse(state: string): Promise<boolean> {
  const conn = await connectStream(state).catch(() => undefined);
  conn?.close();
  return conn !== undefined;
}

async function replaceKey(state: string): Promise<void> {
  try {
    await Deno.rename(pathOf(state, NEXT_KEY_FILE), pathOf(state, KEY_FILE));
  } catch (error) {
    throw fromSystem(error, `write ${pathOf(state, KEY_FILE)}`);
  }
}

/** Those rotations that lead to a key: what comes after was not taken. */
async function leadingTo({ publicKey }: KeyPair, chain: readonly Signed[]): Promise<Signed[]> {
  const key = formatBase64(publicKey);
  const opened = await Promise.all(chain.map(openRotation));
  const end = opened.findLastIndex((rotation) => rotation?.newKey === key);
  return chain.slice(0, end + 1);
}

async function lastOf(chain: readonly Signed[]): Promise<Rotation | undefined> {
  const [last] = chain.slice(-1);
  return last && await openRotation(last);
}

/** Formats rotations as the file's text. */
export function formatRotations(mesh: string, rotations: readonly Signed[]): string {
  const kept = rotations.map(({ statement, signature }) => ({
    statement: formatBase64(statement),
    signature: formatBase64(signature),
  }));
  return `${JSON.stringify({ version: 1, mesh, rotations: kept }, null, 1)}\n`;
}

/** Parses the file's text: the rotations in this mesh; `undefined` if it is no such file. */
export function parseRotations(text: string, mesh: string): readonly Signed[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value) || value["version"] !== 1 || !Array.isArray(value["rotations"])) {
    return undefined;
  }
  if (value["mesh"] !== mesh) return [];
  return value["rotations"].slice(-ROTATIONS_KEPT).map(parseSigned)
    .filter((signed) => signed !== undefined);
}

async function readRotations(
  { state, mesh, log }: LoadKeysOptions,
): Promise<readonly Signed[]> {
  const path = pathOf(state, ROTATIONS_FILE);
  const text = await readTextFile(path, { bytesMax: FILE_BYTES_MAX }).catch((error) => {
    log("debug", `no rotations of the key: ${messageOf(error)}`);
    return formatRotations(mesh, []);
  });
  const rotations = parseRotations(text, mesh);
  if (rotations === undefined) {
    log("warn", `${path} is damaged: who knows this node by an earlier key does not find it`);
  }
  return rotations ?? [];
}

function parseSigned(value: unknown): Signed | undefined {
  if (!isObject(value)) return undefined;
  const [statement, signature] = [value["statement"], value["signature"]].map((text) =>
    typeof text === "string" ? parseBase64(text) : undefined
  );
  return statement && signature && { statement, signature };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function pathOf(state: string, file: string): string {
  return `${state.replace(/[/\\]+$/, "")}/${file}`;
}

/**
 * How an agent belongs to its mesh, `join.json` in its state directory (0600): the colony's key, where Discovery is, and the invite
 * until the colony has let it in.
 *
 * @module
 */
import { MorayError } from "../../core/mod.ts";
import { inviteKeyOf } from "../../discovery/mod.ts";
import { ensurePrivateDirectory, readTextFile, writePrivateFile } from "../../io/mod.ts";
import { formatInvite, type Invite, parseInvite } from "./invite.ts";

/** The file in a state directory. */
export const JOIN_FILE = "join.json";
const FILE_BYTES_MAX = 8192;
/** Stands for a seed that is used up. */
const NO_SEED = new Uint8Array(32);

/** How an agent belongs to its mesh. */
export interface Joined extends Omit<Invite, "seed"> {
  /** Seed of the invite, while the colony has not let this node in. Never in a log, an error or JSON. */
  readonly seed?: Uint8Array;
  /** Public key of the invite that let it in. Absent: none has. */
  readonly used?: string;
}

/** What a node need not be told that joins by an invite, or has joined. */
export interface JoinedMesh {
  /** Mesh id. */
  readonly mesh: string;
  /** Base URLs of Discovery. */
  readonly discovery: readonly string[];
  /** Name for the node. Absent: its own choice. */
  readonly name?: string;
}

/** The mesh that an invite, or else the state directory, is of; `undefined` for neither. Throws as {@linkcode joinedBy}. */
export async function joinedMesh(
  { state, join }: { readonly state: string; readonly join?: string | undefined },
): Promise<JoinedMesh | undefined> {
  return join === undefined ? await readJoined(state) : parseInvite(join);
}

/** Reads what a state directory has joined; `undefined` for nothing. Throws `corrupt` for a damaged file. */
export async function readJoined(state: string): Promise<Joined | undefined> {
  const path = joinPath(state);
  try {
    await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
  }
  const text = await readTextFile(path, { bytesMax: FILE_BYTES_MAX });
  try {
    const { invite, used }: { invite?: unknown; used?: unknown } = Object(JSON.parse(text));
    const { seed, ...joined } = parseInvite(String(invite));
    return typeof used === "string" ? { ...joined, used } : { ...joined, seed };
  } catch (error) {
    throw new MorayError(
      "corrupt",
      `${path} is damaged: restore it, or remove it and join again with a new invite`,
      error,
    );
  }
}

/** Writes what a state directory has joined. */
export async function writeJoined(state: string, joined: Joined): Promise<void> {
  await ensurePrivateDirectory(state);
  const invite = formatInvite({ ...joined, seed: joined.seed ?? NO_SEED });
  const { used } = joined;
  await writePrivateFile(joinPath(state), `${JSON.stringify({ version: 1, invite, used })}\n`);
}

/** The node was let in: the invite is of no use any more, and its seed is forgotten. */
export async function letIn(
  state: string,
  { seed, ...joined }: Joined & { readonly seed: Uint8Array },
): Promise<void> {
  await writeJoined(state, { ...joined, used: await inviteKeyOf(seed) });
}

/**
 * What an agent is to join: by the string that it is given, or as it did before; `undefined` for neither. The string by which it was
 * let in changes nothing. Throws `usage` for a string that is none, or has ended.
 */
export async function joinedBy(
  state: string,
  { join, now }: { readonly join: string | undefined; readonly now: number },
): Promise<Joined | undefined> {
  const before = await readJoined(state);
  if (join === undefined) return before;
  const invite = parseInvite(join);
  // The same command line starts the node again.
  if (before?.used !== undefined && before.used === await inviteKeyOf(invite.seed)) return before;
  if (invite.expiresAt <= now) {
    throw new MorayError("refused", "The invite has ended: ask for another one");
  }
  await writeJoined(state, invite);
  return invite;
}

function joinPath(state: string): string {
  return `${state.replace(/[/\\]+$/, "")}/${JOIN_FILE}`;
}

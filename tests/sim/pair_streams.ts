/** The streams of a pair: one that lives through everything that goes wrong, and bulk once all is well. @module */
import type { EchoClient } from "./echo_streams.ts";
import type { Pair } from "./pair.ts";
import type { Process } from "./process.ts";

/** Bytes of one push on the long-lived stream: a keystroke's worth. */
const DRIP_BYTES = 64;
/** Bytes of the bulk transfer, both ways each. */
export const BULK_BYTES = 48 * 1024;

/** Streams from an agent to its colony. */
export class PairStreams {
  readonly #pair: Pair;
  #drip: EchoClient | undefined;
  /** The two runs that the long-lived stream is between. */
  #runs: readonly (Process | undefined)[] = [];
  #dripped = 0;
  #bulk: EchoClient | undefined;

  /** No streams. */
  constructor(pair: Pair) {
    this.#pair = pair;
  }

  /** Pushes a little on the long-lived stream, which is opened first if both programs are not those that it was between. */
  drip(): void {
    const { agent, colony } = this.#pair;
    const runs = [agent.process, colony.process];
    if (!agent.awake || runs.includes(undefined)) return;
    if (this.#runs.some((run, i) => run !== runs[i]) || this.#drip === undefined) {
      this.#drip?.close();
      this.#drip = agent.process?.openStream(colony.publicKey);
      this.#runs = runs;
      this.#dripped = 0;
    }
    this.#dripped += DRIP_BYTES;
    this.#drip?.push(DRIP_BYTES);
  }

  /** Forgets the long-lived stream: TCP may have given it up by now. */
  forgive(): void {
    this.#drip?.close();
    this.#drip = undefined;
  }

  /** Why the long-lived stream broke although both programs have run on; `undefined` if it has not. */
  get broken(): string | undefined {
    return this.#lives ? this.#drip?.broken : undefined;
  }

  /** Bytes pushed on the long-lived stream and not yet back; 0 if one of the programs has ended. */
  get owed(): number {
    return this.#drip === undefined || !this.#lives ? 0 : this.#dripped - this.#drip.echoed;
  }

  /** Begins the bulk transfer. */
  startBulk(): void {
    const { agent, colony } = this.#pair;
    this.#bulk = agent.process?.openStream(colony.publicKey);
    this.#bulk?.push(BULK_BYTES);
  }

  /** Bytes of the bulk transfer that are back, or why it broke. */
  get bulk(): number | string {
    return this.#bulk?.broken ?? this.#bulk?.echoed ?? "no stream";
  }

  /** Whether both programs that the long-lived stream is between still run. */
  get #lives(): boolean {
    const [agent, colony] = this.#runs;
    return agent === this.#pair.agent.process && colony === this.#pair.colony.process;
  }

  /** Ends everything in order. */
  close(): void {
    this.#drip?.close();
    this.#bulk?.close();
  }
}

/** Seeds that once failed, each with what was wrong: they are run again every time. @module */

/** A seed that failed. */
export interface FailedSeed {
  /** The seed. */
  readonly seed: number;
  /** What was wrong, in one line. */
  readonly why: string;
}

/** All of them, oldest first. */
export const FAILED_SEEDS: readonly FailedSeed[] = [
  { seed: 8, why: "a site without UDP whose NAT got a new address: the simulator's own fault" },
  {
    seed: 23,
    why: "after a new public address the Watch stream was dead for 40 s, and so were punches",
  },
  { seed: 3018, why: "a stream's retransmissions were a minute apart when the path came back" },
  {
    seed: 10,
    why:
      "neighbours behind a symmetric NAT with hairpin: each probe left by a new mapping, which was probed in turn",
  },
  {
    seed: 53,
    why:
      "a colony that only answered sent nothing for 14 s after the NAT in front of it had rebooted",
  },
  {
    seed: 98,
    why:
      "an agent in the colony's LAN passed for a proof that the colony's NAT still had its mappings",
  },
  {
    seed: 497,
    why: "a host with two cards answered neighbours by the wrong one: the simulator's own fault",
  },
  {
    seed: 328,
    why:
      "a new address while Discovery was away was registered only at the next of ever rarer attempts",
  },
  {
    seed: 772,
    why:
      "answers came from elsewhere than was asked, for ever, which is no path: the oracle's own fault",
  },
  {
    seed: 820,
    why:
      "after an outage of the STUN servers the node asked for its new address up to 20 s too late",
  },
  {
    seed: 730,
    why: "a NAT that counts, a peer's that does not: the counting side opened no ends to be found",
  },
  {
    seed: 888,
    why: "the same with a filter by address in front of the side that counts",
  },
  {
    seed: 995,
    why: "the same with the side that counts as the agent, and random ports at the colony",
  },
  {
    seed: 1535,
    why: "the same towards a NAT that keeps ports where it can, and whose ports look random then",
  },
  {
    seed: 1230,
    why:
      "the ports sampled at a former NAT outlived the move, and the peer predicted the next of them",
  },
  {
    seed: 1022,
    why:
      "a carrier's NAT restarted while the peer was missed already: the Watch stream was dead and nothing asked beside it",
  },
  {
    seed: 4207,
    why:
      "the same with a firewall that restarted, for an agent that had not reached its colony yet",
  },
  {
    seed: 4916,
    why:
      "a colony that nothing had been said to yet did not notice that its NAT had restarted 1.4 s after the session began",
  },
  {
    seed: 4911,
    why: "a colony that started without STUN servers asked them up to 16 s after they were back",
  },
  {
    seed: 5452,
    why: "an agent's NAT got a new address while its colony was away: STUN was asked 12 s later",
  },
  {
    seed: 3724,
    why:
      "two LANs with the same addresses, both nodes in both: a way without a way back used up every initiation",
  },
  {
    seed: 762,
    why:
      "one NAT that counts in front of both sides: their ends took turns, and none had the port that was foretold",
  },
  { seed: 1324, why: "the same with a NAT of random ports behind it" },
  {
    seed: 1497,
    why: "the same, and a session on two ports that do not belong together ended the guess",
  },
  { seed: 1166, why: "the same with a filter by address" },
  {
    seed: 2045,
    why:
      "two agents behind the colony's NAT that counts guessed at the same instant each time, and its ports were never looked at again",
  },
  {
    seed: 3093,
    why:
      "one look at the ports among others' guesses showed no order, and none was taken for ten minutes",
  },
  {
    seed: 2721,
    why: "each side guessed by its own clock after a move, for ever 30 s beside the other",
  },
  { seed: 1552, why: "the same, where one side opens ends and the other looks for them" },
  {
    seed: 2607,
    why: "the end that had just won was closed: three probes within 7 ms had no answer yet",
  },
  { seed: 1766, why: "three agents and their colony behind one NAT that counts" },
  {
    seed: 6797,
    why: "7.0 s after a cut in one direction: Discovery was not asked for the missed peer",
  },
  { seed: 7878, why: "the same, 7.1 s" },
  {
    seed: 2851,
    why:
      "a port that counts was to be foretold although it depends on one by chance: the oracle's own fault",
  },
  {
    seed: 2165,
    why: "the same, with a stream asked for over two ports that do not belong together",
  },
  {
    seed: 112,
    why:
      "an open NAT that counts answered from the port after those that were looked for, and a filter by port dropped it",
  },
  {
    seed: 8261,
    why:
      "the same, and each initiation was used up by the way to its known port, which answers from another",
  },
  {
    seed: 6591,
    why:
      "a NAT that counts and a filter by port: nobody tried the random ports of the other's ends",
  },
  {
    seed: 2053,
    why:
      "7.1 s after a reboot of the NAT: a peer that had slept had answered everything late, and was asked every 6 s",
  },
  {
    seed: 3598,
    why:
      "a pair that talked over two ways that do not belong together was guessed for at each punch, with 128 ends",
  },
  { seed: 1813, why: "the same" },
  { seed: 8917, why: "the same, and the size of no path was known: nothing came of bulk" },
  {
    seed: 9066,
    why:
      "a peer heard one way, whose probes came, was taken for one without probes and followed to each new port: 122 moves",
  },
  {
    seed: 9582,
    why: "7.0 s after a move, as the average of round trips was still that of a sleep",
  },
  {
    seed: 8891,
    why: "two NATs that count behind one address were taken for one, as a carrier kept their ports",
  },
  {
    seed: 7699,
    why:
      "a pair that guessed again, as it was lost in the last seconds, was held to ends that only a reached one must not have: the check's fault",
  },
  {
    seed: 9470,
    why:
      "a host with two cards sent to a public address by the one that was cut, as if it were its neighbour: the simulator's own fault",
  },
  {
    seed: 2859,
    why:
      "Discovery had lost its memory while a carrier's NAT restarted: the colony forgot its agent at once, and his streams with him",
  },
  {
    seed: 6343,
    why:
      "a NAT that keeps ports had given the looked at ones away, three times: they were not looked at again for ten minutes",
  },
];

/** Seeds that failed with the relays that their worlds have. */
export const FAILED_RELAY_SEEDS: readonly FailedSeed[] = [
  {
    seed: 22,
    why: "a datagram sent while the relay was being asked made the Worker turn for a second",
  },
  { seed: 24, why: "the same" },
  {
    seed: 186,
    why: "both relays had failed within a minute, and the one that was back was not asked for",
  },
  { seed: 364, why: "the same" },
  { seed: 587, why: "a relay without IPv6 was waited for by a node that has nothing else" },
  {
    seed: 1229,
    why: "a relay that had started anew answered, and nobody noticed that it knew nothing",
  },
];

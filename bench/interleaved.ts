/**
 * Measures systems that answer the same questions, side by side: what else the machine does
 * hits all of them alike, so that ratios hold where milliseconds do not.
 */
import type { RankedDocument } from "../src/evaluate/run.js";
import { randomNumbers } from "./resampled-corpus.js";

/** Something that answers questions. */
export interface BenchSystem<Question> {
  /** Unique among the systems. */
  readonly name: string;
  /**
   * @returns the ten best hits, and the milliseconds they took where the caller's clock is not
   * to be used (a system behind a pipe).
   */
  readonly find: (question: Question) => Promise<{ hits: RankedDocument[]; ms?: number }>;
}

/** What was measured of one system, by its name. */
export interface Latencies {
  readonly name: string;
  /** Milliseconds of every search, in the order of rounds and questions. */
  readonly times: readonly number[];
  /** Hits by the question's place; those of the last round. */
  readonly hits: ReadonlyMap<string, readonly RankedDocument[]>;
}

/** Searches a second that a number of clients at once get. */
export interface Throughput {
  readonly name: string;
  /** Clients → searches a second, the median of the turns. */
  readonly by_clients: ReadonlyMap<number, number>;
}

/** The same order of turns in every run. */
const SEED = 0x2545f491;

/**
 * One search at a time; all systems answer a question right after each other, in an order that is
 * drawn anew for every question: one that always came after the same other would pay for what that
 * one leaves behind, such as caches it has emptied. A round before the first is not timed.
 */
export async function measureLatencies<Question>(
  systems: readonly BenchSystem<Question>[],
  questions: readonly Question[],
  rounds: number,
  onRound: (round: number) => void = () => {},
): Promise<Latencies[]> {
  const measured = systems.map(({ name }) => ({
    name,
    times: [] as number[],
    hits: new Map<string, readonly RankedDocument[]>(),
  }));
  const random = randomNumbers(SEED);
  const order = [...systems.entries()];
  for (let round = 0; round <= rounds; round++) {
    for (const [q, question] of questions.entries()) {
      shuffle(order, random);
      for (const [place, { find }] of order) {
        const start = performance.now();
        const { hits, ms } = await find(question);
        const taken = ms ?? performance.now() - start;
        if (round > 0) measured[place]?.times.push(taken);
        measured[place]?.hits.set(String(q), hits);
      }
    }
    onRound(round);
  }
  return measured;
}

/** Every order is as likely (Fisher and Yates). */
function shuffle(items: unknown[], random: () => number): void {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [items[last], items[other]] = [items[other], items[last]];
  }
}

/**
 * Clients that ask one question after the other, several at once. Systems take turns of
 * `turnMs`, `turns` times each at every number of clients.
 */
export async function measureThroughput<Question>(
  systems: readonly BenchSystem<Question>[],
  questions: readonly Question[],
  { clients, turns, turnMs }: { clients: readonly number[]; turns: number; turnMs: number },
): Promise<Throughput[]> {
  const rates = systems.map(() => new Map<number, number[]>(clients.map((count) => [count, []])));
  for (let turn = 0; turn < turns; turn++) {
    for (const count of clients) {
      for (const [place, system] of systems.entries()) {
        rates[place]?.get(count)?.push(await oneTurn(system, questions, count, turnMs));
      }
    }
  }
  return systems.map(({ name }, place) => ({
    name,
    by_clients: new Map(
      Array.from(rates[place] ?? [], ([count, seen]) => [count, quantile(seen, 0.5)]),
    ),
  }));
}

async function oneTurn<Question>(
  { find }: BenchSystem<Question>,
  questions: readonly Question[],
  clients: number,
  turnMs: number,
): Promise<number> {
  let next = 0;
  let answered = 0;
  const start = performance.now();
  const end = start + turnMs;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() < end) {
        await find(questions[next++ % questions.length] as Question);
        answered += 1;
      }
    }),
  );
  return answered / ((performance.now() - start) / 1000);
}

/** The value below which a share of the values lies; 0 of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

/**
 * Finds how this machine encodes fastest: how many sessions, of how many threads, in batches of
 * how many tokens. Candidates take turns on the same texts (paired-rounds.ts), and one replaces
 * the configured setting only if it is surely faster.
 */
import os from "node:os";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import { openEncoder, type Encoder } from "./encoder.js";
import { inRounds, median, pairedRatio, type PairedRatio } from "./paired-rounds.js";
import { tokenBudgetOf } from "./token-budget.js";

/** A way to run the encoder. */
export interface EncoderSettings {
  readonly sessions: number;
  /** Threads of each session. */
  readonly threads: number;
  readonly token_budget: number;
}

/** A candidate beside the one it was measured with. */
export interface TuneRow extends EncoderSettings {
  readonly tokens_per_second: number;
  /** Its speed as a multiple of the one to beat, in the same rounds; 1 for that one itself. */
  readonly against: PairedRatio;
}

/** What tuning found. */
export interface Tuning {
  /** As it is configured. */
  readonly configured: EncoderSettings;
  readonly best: EncoderSettings;
  /** The best one's speed as a multiple of the configured one's, the measured gains multiplied. */
  readonly gain: number;
  readonly rows: readonly TuneRow[];
  /** Cores this process may use. */
  readonly cores: number;
  /** Mean number of processes that wanted a core in the minute before. */
  readonly load_before: number;
}

/** How {@link tuneEncoder} works. */
export interface TuneOptions {
  /** About how long to measure, seconds; loading the model comes on top. */
  readonly seconds: number;
  readonly signal?: AbortSignal;
  /** Told what is measured and how much of the time has gone, 0 to 1. */
  readonly onProgress?: (what: string, share: number) => void;
}

/** A candidate must be faster by so much for a change of settings to be worth it. */
const WORTHWHILE = 1.03;

/** Token budgets that are tried, beside the configured one. */
const BUDGETS = {
  cpu: [256, 512, 1024, 2048],
  cuda: [2048, 4096, 8192, 16_384, 32_768],
} as const;

/** Seconds of one turn, about. */
const TURN_SECONDS = 0.5;
const LEAST_ROUNDS = 6;

/** Share of the time for batches; the rest is for sessions and threads. */
const SHARE_OF_BATCHES = 0.4;

/**
 * Tunes the configured checkpoint on this machine.
 * @throws CspladeError as `openEncoder` does, and `aborted`.
 */
export async function tuneEncoder(config: Config, options: TuneOptions): Promise<Tuning> {
  const cores = os.availableParallelism();
  const load_before = os.loadavg()[0] ?? 0;
  const sessions = config["model.sessions"];
  const configured: EncoderSettings = {
    sessions,
    threads: config["model.threads"] || Math.max(1, Math.floor(cores / sessions)),
    token_budget: tokenBudgetOf(config),
  };
  const rows: TuneRow[] = [];
  let best = configured;
  let gain = 1;
  const take = (from: EncoderSettings, others: readonly EncoderSettings[], speeds: number[][]) => {
    const [champion = []] = speeds;
    const measured = [from, ...others].map((settings, i): TuneRow => ({
      ...settings,
      tokens_per_second: median(speeds[i] ?? []),
      against: pairedRatio(speeds[i] ?? [], champion),
    }));
    rows.push(...(rows.length === 0 ? measured : measured.slice(1)));
    const [first] = measured
      .slice(1)
      .filter(({ against }) => against.ratio >= WORTHWHILE && against.low > 1)
      .sort((a, b) => b.against.ratio - a.against.ratio);
    if (first === undefined) return;
    best = {
      sessions: first.sessions,
      threads: first.threads,
      token_budget: first.token_budget,
    };
    gain *= first.against.ratio;
  };

  const texts = await textsFor(config, configured, options.signal);
  const budgets = [
    ...new Set([configured.token_budget, ...BUDGETS[config["model.provider"]]]),
  ].slice(0, 6);
  const batchTime = options.seconds * SHARE_OF_BATCHES;
  await withEncoders(config, [configured], async ([encoder]) => {
    const candidates = budgets.map((token_budget) => ({ ...configured, token_budget }));
    const speeds = await measure(
      candidates.map((settings) => ({ encoder: encoder as Encoder, settings })),
      texts,
      { ...options, seconds: batchTime },
      (share) => options.onProgress?.("batch sizes", share * SHARE_OF_BATCHES),
    );
    take(configured, candidates.slice(1), speeds);
  });

  const splits = splitsOf(cores, config["model.provider"]).filter(
    (one) => one.sessions !== configured.sessions || one.threads !== configured.threads,
  );
  for (const [i, split] of splits.entries()) {
    const champion = best;
    const challenger = { ...split, token_budget: champion.token_budget };
    await withEncoders(config, [champion, challenger], async (encoders) => {
      const speeds = await measure(
        encoders.map((encoder, which) => ({
          encoder,
          settings: which === 0 ? champion : challenger,
        })),
        texts,
        { ...options, seconds: (options.seconds - batchTime) / splits.length },
        (share) =>
          options.onProgress?.(
            `${split.sessions} × ${split.threads} threads`,
            SHARE_OF_BATCHES + ((1 - SHARE_OF_BATCHES) * (i + share)) / splits.length,
          ),
      );
      take(champion, [challenger], speeds);
    });
  }
  return { configured, best, gain, rows, cores, load_before };
}

/** Sessions and threads that use a quarter of the cores to all of them; a GPU has one session. */
function splitsOf(
  cores: number,
  provider: Config["model.provider"],
): Pick<EncoderSettings, "sessions" | "threads">[] {
  if (provider === "cuda") return [];
  const splits: { sessions: number; threads: number }[] = [];
  for (const sessions of [1, 2, 4]) {
    for (const divisor of [1, 2, 4]) {
      const threads = Math.floor(cores / divisor / sessions);
      const known = splits.some((one) => one.sessions === sessions && one.threads === threads);
      if (threads >= 1 && !known) splits.push({ sessions, threads });
    }
  }
  return splits;
}

async function withEncoders<T>(
  config: Config,
  settings: readonly EncoderSettings[],
  work: (encoders: readonly Encoder[]) => Promise<T>,
): Promise<T> {
  const encoders: Encoder[] = [];
  try {
    for (const { sessions, threads } of settings) {
      encoders.push(
        await openEncoder({ ...config, "model.sessions": sessions, "model.threads": threads }),
      );
    }
    return await work(encoders);
  } finally {
    for (const encoder of encoders) await encoder.close();
  }
}

/** A candidate with its encoder. */
interface Opened {
  readonly encoder: Encoder;
  readonly settings: EncoderSettings;
}

/** Tokens per second by candidate and round: as many rounds as the time allows, at least six. */
async function measure(
  candidates: readonly Opened[],
  texts: readonly string[],
  { seconds, signal }: TuneOptions,
  onShare: (share: number) => void,
): Promise<number[][]> {
  const ways = candidates.map((candidate) => () => speedOf(candidate, texts, signal));
  // Memory is allocated and grown for each size once: those turns are not counted.
  await inRounds(1, ways);
  const speeds = candidates.map((): number[] => []);
  const started = performance.now();
  for (let round = 0; ; round++) {
    const share = (performance.now() - started) / 1_000 / seconds;
    onShare(Math.min(1, Math.max(share, 0)));
    if (round >= LEAST_ROUNDS && share >= 1) return speeds;
    const turns = await inRounds(1, round % 2 === 0 ? ways : [...ways].reverse());
    const inOrder = round % 2 === 0 ? turns : turns.reverse();
    inOrder.forEach(([speed = NaN], i) => speeds[i]?.push(speed));
  }
}

async function speedOf(
  { encoder, settings: { sessions, token_budget } }: Opened,
  texts: readonly string[],
  signal: AbortSignal | undefined,
): Promise<number> {
  const options = { token_budget, ...(signal === undefined ? {} : { signal }) };
  const before = encoder.totals().tokens;
  const started = performance.now();
  // A window for each session, as a worker keeps them busy.
  await Promise.all(
    Array.from({ length: sessions }, (_, session) =>
      encoder.encodeDocuments(
        texts.filter((_text, i) => i % sessions === session),
        options,
      ),
    ),
  );
  return (encoder.totals().tokens - before) / ((performance.now() - started) / 1_000);
}

/**
 * Texts of 8 tokens to as many as a passage may have, log-uniform, and so many of them that one
 * turn takes about half a second.
 */
async function textsFor(
  config: Config,
  settings: EncoderSettings,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  return withEncoders(config, [settings], async ([encoder]) => {
    if (encoder === undefined) return [];
    const some = lengthsUpTo(encoder.manifest.max_tokens.document, 16).map(wordsOf);
    await speedOf({ encoder, settings }, some, signal);
    const before = encoder.totals().tokens;
    const speed = await speedOf({ encoder, settings }, some, signal);
    const perText = (encoder.totals().tokens - before) / some.length;
    if (!(perText > 0)) {
      throw new CspladeError("encode_failed", "The checkpoint encodes ordinary words as nothing.");
    }
    const count = Math.ceil((TURN_SECONDS * speed) / perText);
    return lengthsUpTo(
      encoder.manifest.max_tokens.document,
      Math.min(4_096, Math.max(16, count)),
    ).map(wordsOf);
  });
}

function lengthsUpTo(longest: number, count: number): number[] {
  // Words are a little more than a token each: the longest must still be one passage.
  const most = Math.max(8, longest * 0.6);
  return Array.from({ length: count }, (_, i) =>
    Math.round(8 * (most / 8) ** ((i * 0.618_034) % 1)),
  );
}

const WORDS =
  "the quick search engine finds old and new documents about water light people work history of a small town by the river".split(
    " ",
  );

function wordsOf(count: number): string {
  return Array.from({ length: count }, (_, i) => WORDS[(i * 7 + count) % WORDS.length]).join(" ");
}

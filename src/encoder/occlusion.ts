/**
 * Where in a text a term came from that the model added to it: what weighs less without a word came
 * from it (occlusion; Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks").
 * It asks nothing of the model but weights, so that it is the same for every way of pooling, those
 * included that read a whole text at one position.
 */

/** An occurrence of a word; words of one `key` are left out together, for one alone would stand in for another. */
export interface TextWord {
  readonly key: string | number;
  /** UTF-16 code units into the text. */
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** A word that a term came from. */
export interface OriginWord {
  readonly start: number;
  readonly end: number;
  /** Share of the term's weight that is lost without the word, 0 to 1. */
  readonly share: number;
}

/** What is left out of which text. */
export interface Occlusion {
  readonly text: string;
  /** In the order of the text. */
  readonly words: readonly TextWord[];
  /** Terms with their weights in the whole text, those that matter most first. */
  readonly terms: ReadonlyMap<number, number>;
  /** Most texts that are weighed. */
  readonly encodings: number;
  /**
   * Weights of the terms in each text; undefined where they are not known. Of a vector that holds its
   * heaviest terms alone one that is missing may weigh as much as the lightest of them.
   */
  readonly weigh: (
    texts: readonly string[],
  ) => Promise<readonly (((term: number) => number) | undefined)[]>;
}

/** Where each term came from, and what it took. */
export interface Origins {
  /** In the order of the text; terms that no word's absence makes lighter are left out. */
  readonly words: ReadonlyMap<number, readonly OriginWord[]>;
  readonly encodings: number;
}

/** Share of its weight that a term loses at least without the word that it came from. */
const LEAST_SHARE = 0.03;

/** Words that take less than this part of what the best one takes are not named. */
const PART_OF_BEST = 0.5;

/** Words, or groups of words, that are named of a term at most. */
const MOST_NAMED = 3;

/** Words that are left out together. */
type Group = readonly (readonly TextWord[])[];

/**
 * The words of a text that its terms came from. Where there are more words than may be left out one by
 * one, groups of them are left out first, and then the words of the group that matters most to each
 * term, as long as there is room.
 */
export async function termOrigins(occlusion: Occlusion): Promise<Origins> {
  const { words, terms, encodings } = occlusion;
  const units = unitsOf(words);
  if (terms.size === 0 || encodings < 1) return { words: new Map(), encodings: 0 };
  const groups = groupsOf(units, encodings);
  const shares = await sharesOf(occlusion, groups);
  let used = groups.length;
  const finer = new Map<Group, Map<Group, TermShares>>();
  const origins = new Map<number, OriginWord[]>();
  for (const term of terms.keys()) {
    const best = heaviest(shares, term)[0]?.[0];
    if (best === undefined || best.length === 1 || finer.has(best)) continue;
    if (used + best.length > encodings) continue;
    used += best.length;
    finer.set(
      best,
      await sharesOf(
        occlusion,
        best.map((unit) => [unit]),
      ),
    );
  }
  for (const term of terms.keys()) {
    const coarse = heaviest(shares, term);
    const inBest = finer.get(coarse[0]?.[0] ?? []);
    const fine = inBest === undefined ? [] : heaviest(inBest, term);
    // Words may lose alone what they do not lose apart: then the group is what is known.
    const named = (fine.length > 0 ? fine : coarse).slice(0, MOST_NAMED);
    const least = (named[0]?.[1] ?? 0) * PART_OF_BEST;
    const found = named
      .filter(([, share]) => share >= least)
      .flatMap(([group, share]) => group.flat().map(({ start, end }) => ({ start, end, share })));
    if (found.length > 0)
      origins.set(
        term,
        found.sort((a, b) => a.start - b.start),
      );
  }
  return { words: origins, encodings: used };
}

/** Share of its weight that each term loses. */
type TermShares = ReadonlyMap<number, number>;

function unitsOf(words: readonly TextWord[]): (readonly TextWord[])[] {
  const units = new Map<TextWord["key"], TextWord[]>();
  for (const word of words) {
    const unit = units.get(word.key);
    if (unit === undefined) units.set(word.key, [word]);
    else unit.push(word);
  }
  return [...units.values()];
}

function groupsOf(units: readonly (readonly TextWord[])[], most: number): Group[] {
  if (units.length <= most) return units.map((unit) => [unit]);
  // Half of the encodings find the groups, the others the words in them.
  const size = Math.ceil(units.length / Math.max(1, Math.floor(most / 2)));
  return Array.from({ length: Math.ceil(units.length / size) }, (_, i) =>
    units.slice(i * size, (i + 1) * size),
  );
}

async function sharesOf(
  { text, terms, weigh }: Occlusion,
  groups: readonly Group[],
): Promise<Map<Group, TermShares>> {
  const weighed = await weigh(groups.map((group) => without(text, group.flat())));
  return new Map(
    groups.map((group, i) => {
      const weightOf = weighed[i];
      const lost = Array.from(terms, ([term, weight]) => {
        const rest = weightOf?.(term) ?? weight;
        return [term, Math.max(0, weight - rest) / weight] as const;
      });
      return [group, new Map(lost)];
    }),
  );
}

/** What a term loses most without, heaviest first. */
function heaviest(
  shares: ReadonlyMap<Group, TermShares>,
  term: number,
): (readonly [group: Group, share: number])[] {
  return Array.from(shares, ([group, lost]) => [group, lost.get(term) ?? 0] as const)
    .filter(([, share]) => share >= LEAST_SHARE)
    .sort((a, b) => b[1] - a[1]);
}

/** A text without some of its words, and without the gaps that they leave. */
function without(text: string, words: readonly TextWord[]): string {
  let rest = "";
  let at = 0;
  for (const { start, end } of words.toSorted((a, b) => a.start - b.start)) {
    if (end <= at) continue;
    // Pairs of Chinese or Japanese characters overlap.
    rest += text.slice(at, Math.max(at, start));
    at = rest === "" || rest.endsWith(" ") ? afterBlanks(text, end) : end;
  }
  return rest + text.slice(at);
}

function afterBlanks(text: string, at: number): number {
  let end = at;
  while (text[end] === " " || text[end] === "\t") end += 1;
  return end;
}

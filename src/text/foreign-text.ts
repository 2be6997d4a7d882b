/**
 * Which texts are in a language that a model does not know: its terms would be noise there. A text is
 * foreign where most of its letters are of a script that none of the model's languages is written in, or
 * where an n-gram detector (eld) finds another language clearly more likely. Doubt means known: one word is
 * no evidence, two are little, and a text of words that all stand in the model's lexicon is never foreign.
 */
import type { eld as Eld } from "eld/small";
import { stemOf } from "./stem.js";
import type { Lexicon } from "./lexicon.js";
import { wordTexts } from "./words.js";

/** What a model knows of languages. */
export interface KnownLanguages {
  /** BCP 47, such as `en`; at least one. */
  readonly languages: readonly string[];
  readonly lexicon: Pick<Lexicon, "stop_words" | "document_frequencies">;
}

/** Says of a text that it is in none of a model's languages. */
export type IsForeign = (text: string) => boolean;

/** Characters that are looked at; the detector reads no more. */
const MOST_CHARACTERS = 1_000;

/**
 * Lead of another language over the best known one, in the detector's scores from 0 to 1, times the
 * words that it was found in. Chosen so that no question of CACM, CISI, Cranfield and TIME is foreign
 * (docs/models.md has the rates).
 */
const CLEAR_LEAD = 0.6;

/** Fewer words of a known script are no evidence. */
const FEWEST_WORDS = 2;

/** Scripts that languages write together have a code of their own in ISO 15924. */
const SCRIPTS_OF: Readonly<Record<string, readonly string[]>> = {
  Jpan: ["Hani", "Hira", "Kana"],
  Kore: ["Hang", "Hani"],
  Hans: ["Hani"],
  Hant: ["Hani"],
};

/** Loads the detector; it takes about 50 MB. */
export async function foreignTexts(known: KnownLanguages): Promise<IsForeign> {
  const { eld } = await import("eld/small");
  return isForeignBy(known, eld);
}

/** The rule; languages that the detector has no model of are told by their script alone. */
function isForeignBy({ languages, lexicon }: KnownLanguages, eld: typeof Eld): IsForeign {
  const locales = languages.map((language) => new Intl.Locale(language).maximize());
  const scripts = [...new Set(locales.flatMap(scriptsOf))].join("");
  const ours = new RegExp(`(?=\\p{L})[${scripts}]`, "gu");
  const detected = new Set(Object.values(eld.info().Languages));
  const names = locales.map(({ language }) => language);
  const isTold = names.every((name) => detected.has(name));

  return (text) => {
    const seen = text.slice(0, MOST_CHARACTERS);
    const letters = countOf(seen, /\p{L}/gu);
    const foreign = letters - countOf(seen, ours);
    if (foreign > 1 && foreign > letters / 2) return true;
    if (!isTold) return false;
    const words = countOf(seen, /\p{L}+/gu);
    if (words < FEWEST_WORDS || isOfLexicon(seen, lexicon)) return false;
    const scores = Object.entries(eld.detect(seen).getScores());
    const best = (isWanted: (name: string) => boolean) =>
      scores.reduce((most, [name, score]) => (isWanted(name) && score > most ? score : most), 0);
    const lead = best((name) => !names.includes(name)) - best((name) => names.includes(name));
    return lead * words >= CLEAR_LEAD;
  };
}

/** Letters of the scripts of a language, and those that belong to no script, as parts of a character class. */
function scriptsOf({ script = "Latn" }: Intl.Locale): string[] {
  const scripts = [...(SCRIPTS_OF[script] ?? [script]), "Zyyy", "Zinh"];
  return scripts.map((each) => `\\p{Script=${each}}`);
}

function countOf(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0;
}

function isOfLexicon(text: string, lexicon: KnownLanguages["lexicon"]): boolean {
  return wordTexts(text).every(
    (word) =>
      !/\p{L}/u.test(word) ||
      lexicon.stop_words.has(word) ||
      lexicon.document_frequencies.has(stemOf(word)),
  );
}

